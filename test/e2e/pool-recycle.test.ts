import { sql } from 'drizzle-orm'
import { expect, it, onTestFinished, vi } from 'vitest'
import { type PlainDb, tenantApp } from '../support/app.ts'
import { getTenantDb } from '../../src/index.ts'
import { describeWith } from '../servers/suite.ts'
import { baselineDatabase } from '../support/database.ts'

describeWith(['postgres18'], '`databasePoolRecycle`', ({ postgres18 }) => {
  it('is when a connection that serves tenants is replaced, and not before', async () => {
    const database = await baselineDatabase(postgres18.url)
    onTestFinished(() => database.drop())
    // How old a connection is.
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    onTestFinished(() => void vi.useRealTimers())
    const app = await tenantApp(database, { databasePoolRecycle: 60, databasePoolSize: 1, changeChannel: 'poll' })
    onTestFinished(() => app.close())
    await app.ready()
    await app.tenancy.register({ identifier: 'acme' })
    const backend = () =>
      app.tenancy.run('acme', async () => {
        const { rows } = await (getTenantDb() as PlainDb).execute(sql`select pg_backend_pid() as pid`)
        return rows[0]?.['pid']
      })
    const first = await backend()
    vi.advanceTimersByTime(55_000)
    expect([await backend(), await backend()]).toEqual([first, first])
    vi.advanceTimersByTime(10_000)
    await backend()
    expect(await backend()).not.toBe(first)
  })
})
