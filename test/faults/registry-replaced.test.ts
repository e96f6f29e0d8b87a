import { sql } from 'drizzle-orm'
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import type { TenantStore } from '../../src/contracts/store.ts'
import { createMemoryTenantStore } from '../../src/index.ts'
import type { TestDatabase } from '../servers/database.ts'
import { describeWith } from '../servers/suite.ts'
import { tenantApp } from '../support/app.ts'
import { baselineDatabase } from '../support/database.ts'
import { db, until } from './fixture.ts'

/** A registry of one's own behind an address that leads to another server from one moment to the next. */
describeWith(['postgres18'], 'a registry whose place another one has taken', ({ postgres18 }) => {
  let database: TestDatabase
  beforeAll(async () => {
    database = await baselineDatabase(postgres18.url)
  })
  afterAll(() => database?.drop())

  it('[W40] revokes every database that is held of whom it suspends, also one that made room for others', async () => {
    const before = createMemoryTenantStore()
    const now = createMemoryTenantStore()
    let current = before
    const names = Object.keys(before) as (keyof TenantStore)[]
    const tenantStore = Object.fromEntries(
      names.map((name) => [
        name,
        (...parameters: readonly unknown[]) =>
          (current[name] as (...parameters: readonly unknown[]) => unknown)(...parameters),
      ]),
    ) as unknown as TenantStore
    const app = await tenantApp(database, { tenantStore, l1CacheMaxSize: 10 })
    onTestFinished(() => app.close())
    await app.ready()
    const acme = await app.tenancy.ensure({ identifier: 'acme' })
    const held = await app.tenancy.run('acme', () => ({ db: db() }))
    for (let n = 0; n < 12; n++) {
      await app.tenancy.ensure({ identifier: `other-${n}` })
      await app.tenancy.run(`other-${n}`, () => void db())
    }
    await held.db.execute(sql`select 1`)
    const { version: _, createdAt: __, updatedAt: ___, ...row } = acme
    await now.insert({ ...row, status: 'suspended' })
    current = now
    const refused = { cause: { code: 'TENANCY_ERR_TENANT_REVOKED' } }
    await until(async () => {
      const error: unknown = await held.db.execute(sql`select 1`).catch((reason: unknown) => reason)
      if (error instanceof Error) expect(error).toMatchObject(refused)
      return error instanceof Error
    }, 2)
  })
})
