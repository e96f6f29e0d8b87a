import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import { type TestDatabase, withPort } from '../servers/database.ts'
import { startProxy } from '../servers/proxy.ts'
import { describeWith } from '../servers/suite.ts'
import { asSuperuser, baselineDatabase } from '../support/database.ts'
import { shop, until } from './fixture.ts'

describeWith(['postgres18'], 'beats of the connection that listens', ({ postgres18 }) => {
  let database: TestDatabase
  beforeAll(async () => {
    database = await baselineDatabase(postgres18.url)
  })
  afterAll(() => database?.drop())

  const listeners = () =>
    asSuperuser(database, async (client) => {
      const { rows } = await client.query<{ pid: number }>(
        "select pid from pg_stat_activity where datname = current_database() and application_name = 'fastify-tenancy changes'",
      )
      return rows.map(({ pid }) => pid)
    })

  it('are sent one at a time, and one that has no answer is noticed', async () => {
    const warnings: string[] = []
    const onWarning = ({ message }: Error) => void warnings.push(message)
    process.on('warning', onWarning)
    onTestFinished(() => void process.off('warning', onWarning))
    const proxy = await startProxy({ target: postgres18.port })
    onTestFinished(() => proxy.stop())
    await shop(
      database,
      { adminDatabaseUrl: withPort(database.adminUrl, proxy.port), changeChannel: 'listen' },
      () => {},
    )
    await until(async () => (await listeners()).length === 1)
    const [first] = await listeners()
    // Several beats that are answered.
    await sleep(1000)
    expect(await listeners()).toEqual([first])
    proxy.freeze()
    const since = Date.now()
    await until(async () => (await listeners()).some((pid) => pid !== first))
    expect(Date.now() - since).toBeLessThan(4500)
    expect(warnings).toEqual([])
  }, 30_000)
})
