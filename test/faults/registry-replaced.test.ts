import { setTimeout as sleep } from 'node:timers/promises'
import { sql } from 'drizzle-orm'
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import { createMemoryTenantStore, type TenancyOptions } from '../../src/index.ts'
import type { TestDatabase } from '../servers/database.ts'
import { describeWith } from '../servers/suite.ts'
import { as, type PlainDb, tenantApp } from '../support/app.ts'
import { baselineDatabase } from '../support/database.ts'
import { routedStore } from '../tenants/routed-store.ts'
import { db, gate, until } from './fixture.ts'

/** A registry of one's own behind an address that leads to another server from one moment to the next. */
describeWith(['postgres18'], 'a registry whose place another one has taken', ({ postgres18 }) => {
  let database: TestDatabase
  beforeAll(async () => {
    database = await baselineDatabase(postgres18.url)
  })
  afterAll(() => database?.drop())

  /** An app with a tenant that is active in its registry, until that is replaced by one in which it is suspended. */
  async function start(options: TenancyOptions = {}) {
    let current = createMemoryTenantStore()
    const tenantStore = routedStore(() => current)
    const app = await tenantApp(database, { tenantStore, ...options })
    onTestFinished(() => app.close())
    const replace = async () => {
      const { version: _, createdAt: __, updatedAt: ___, ...row } = (await app.tenancy.get('acme')) ?? expect.fail()
      const now = createMemoryTenantStore()
      await now.insert({ ...row, status: 'suspended' })
      current = now
    }
    return { app, replace }
  }
  const isRefused = async (held: PlainDb) => {
    const error: unknown = await held.execute(sql`select 1`).catch((reason: unknown) => reason)
    if (error instanceof Error) expect(error).toMatchObject({ cause: { code: 'TENANCY_ERR_TENANT_REVOKED' } })
    return error instanceof Error
  }

  it('[W40] revokes every database that is held of whom it suspends, also one that made room for others', async () => {
    const { app, replace } = await start({ l1CacheMaxSize: 10 })
    await app.tenancy.ensure({ identifier: 'acme' })
    const held = await app.tenancy.run('acme', () => ({ db: db() }))
    for (let n = 0; n < 12; n++) {
      await app.tenancy.ensure({ identifier: `other-${n}` })
      await app.tenancy.run(`other-${n}`, () => void db())
    }
    expect(await isRefused(held.db)).toBe(false)
    await replace()
    await until(() => isRefused(held.db), 2)
  })

  it('[W40] revokes the database that a request gets which was let in before', async () => {
    const [asked, decided] = [gate(), gate()]
    const authorize = async () => {
      asked.open()
      await decided.passed
      return true
    }
    const { app, replace } = await start({ authorize })
    const kept: PlainDb[] = []
    app.get('/keep', async () => void kept.push(db()))
    await app.tenancy.ensure({ identifier: 'acme' })
    const request = app.inject({ url: '/keep', headers: as('acme') })
    await asked.passed
    await replace()
    await sleep(1000)
    decided.open()
    const { statusCode } = await request
    if (statusCode === 200) await until(() => isRefused(kept[0] as PlainDb), 2)
    else expect(statusCode).toBe(403)
  })
})
