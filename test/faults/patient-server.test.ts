import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, beforeEach, expect, it, onTestFinished } from 'vitest'
import type { DatabaseServer } from '../../src/contracts/dialect.ts'
import { patientServer } from '../../src/patient-server.ts'
import type { TestDatabase } from '../servers/database.ts'
import { type RunningPostgres, startPostgres } from '../servers/postgres.ts'
import { describeWith } from '../servers/suite.ts'
import { asSuperuser, baselineDatabase, open, provisionScope, schemaScope, testServer } from '../support/database.ts'
import { gate } from './fixture.ts'

const UNAVAILABLE = { code: 'TENANCY_ERR_DATABASE_UNAVAILABLE', statusCode: 503 }
const CLOSED = { code: 'TENANCY_ERR_CLOSED' }

describeWith(['postgres18'], 'a server that need not be there', () => {
  let running: RunningPostgres
  let database: TestDatabase
  beforeAll(async () => {
    running = await startPostgres({ version: 18 })
    database = await baselineDatabase(running.url)
  })
  beforeEach(async () => {
    if (running.pid() === undefined) await running.restart()
  })
  afterAll(() => running?.stop())

  /** Tried every 50 ms; `opens` counts the attempts. */
  const patient = (server: DatabaseServer = testServer(database)) => {
    const warnings: string[] = []
    let opens = 0
    const counted: DatabaseServer = { ...server, open: () => (opens++, server.open()) }
    const made = patientServer(counted, { name: 'eu', warn: (sentence) => void warnings.push(sentence), retryMs: 50 })
    onTestFinished(() => made.close())
    return { server: made, warnings, opens: () => opens }
  }
  const backends = () =>
    asSuperuser(database, async (client) => {
      const text = 'select from pg_stat_activity where usename in ($1, $2)'
      return (await client.query(text, [database.appRole, database.ownerRole])).rowCount
    })

  it('is the server itself when it is there', async () => {
    const { server, opens } = patient()
    expect(() => server.client(schemaScope(), open)).toThrow(
      expect.objectContaining({ code: 'TENANCY_ERR_NOT_STARTED' }) as Error,
    )
    expect(await server.open()).toEqual([])
    await provisionScope(server, ['create table "x" ("id" int)'])
    await sleep(200)
    expect(opens()).toBe(1)
  })

  it('refuses everything with 503 until it answers, whatever it was asked for, and tells once', async () => {
    await running.kill()
    const { server, warnings, opens } = patient()
    expect(await server.open()).toEqual([expect.stringMatching(/^Server "eu": It cannot be opened/)])
    const scope = schemaScope()
    for (const use of [() => server.client(scope, open), () => server.lazyTransaction(scope, open)]) {
      expect(use).toThrow(expect.objectContaining(UNAVAILABLE) as Error)
    }
    await expect(server.inNamespace(scope, async () => {})).rejects.toMatchObject(UNAVAILABLE)
    await expect(server.destroy(scope)).rejects.toMatchObject(UNAVAILABLE)
    await expect(server.ping()).rejects.toMatchObject(UNAVAILABLE)
    expect(() => server.forget?.(scope)).not.toThrow()
    expect(server.stats()).toEqual({})
    await expect.poll(opens).toBeGreaterThan(3)
    expect(warnings).toEqual([])
    await running.restart()
    await expect
      .poll(() => warnings, { timeout: 10_000 })
      .toEqual(['Server "eu": It answers, and its tenants are served.'])
    await provisionScope(server, ['create table "x" ("id" int)'])
    const attempts = opens()
    await sleep(200)
    expect(opens()).toBe(attempts)
  })

  it('is not tried any more once it is closed, and says so', async () => {
    await running.kill()
    const { server, warnings, opens } = patient()
    await server.open()
    await server.close()
    await expect.poll(async () => server.ping().catch((error: unknown) => error)).toMatchObject(CLOSED)
    expect(() => server.client(schemaScope(), open)).toThrow(expect.objectContaining(CLOSED) as Error)
    const attempts = opens()
    await running.restart()
    await sleep(300)
    expect([opens(), warnings, await backends()]).toEqual([attempts, [], 0])
  })

  it('leaves no connection behind when it is closed while it opens', async () => {
    await running.kill()
    const [begun, goOn] = [gate(), gate()]
    const inner = testServer(database)
    let calls = 0
    const { server, warnings } = patient({
      ...inner,
      async open() {
        if (++calls === 1) return inner.open()
        const opened = await inner.open()
        begun.open()
        await goOn.passed
        return opened
      },
    })
    await server.open()
    await running.restart()
    await begun.passed
    expect(await backends()).toBeGreaterThan(0)
    await server.close()
    goOn.open()
    await expect.poll(backends).toBe(0)
    expect(warnings).toEqual([])
  })

  it('opens once, however many ask for it', async () => {
    const { server, opens } = patient()
    await Promise.all([server.open(), server.open(), server.open()])
    expect(opens()).toBe(1)
    await server.close()
    await expect.poll(backends).toBe(0)
  })

  it('lets an idle process end', async () => {
    await running.kill()
    const timers = () => process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length
    const before = timers()
    for (let made = 0; made < 5; made++) await patient().server.open()
    expect(timers()).toBeLessThan(before + 5)
  })
})
