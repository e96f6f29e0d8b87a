import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, beforeEach, expect, it, onTestFinished } from 'vitest'
import type { DatabaseServer } from '../../src/contracts/dialect.ts'
import type { Scope } from '../../src/contracts/isolation.ts'
import { namespaceStrategy } from '../../src/isolation/namespace.ts'
import { codeOf } from '../attack/operation.ts'
import { withPort } from '../servers/database.ts'
import { type Proxy, startProxy } from '../servers/proxy.ts'
import { open, placedScope } from '../support/database.ts'
import { describeMssql, type MssqlDatabase, mssqlDatabase, mssqlServer } from '../support/mssql.ts'

const UNAVAILABLE = 'TENANCY_ERR_DATABASE_UNAVAILABLE'

interface RawRequest {
  input(name: string, value: unknown): RawRequest
  query(text: string): Promise<{ recordset: readonly Record<string, unknown>[] }>
  toReadableStream(): AsyncIterable<unknown>
}
interface RawPool {
  request(): RawRequest
  transaction(): { begin(): Promise<void>; commit(): Promise<void>; rollback(): Promise<void>; request(): RawRequest }
}

const failureOf = async (work: () => unknown): Promise<string | undefined> => {
  try {
    await work()
    return undefined
  } catch (error) {
    return codeOf(error)
  }
}

describeMssql('connections to SQL Server', (url) => {
  const proxyTarget = Number(new URL(url).port || 1433)
  let database: MssqlDatabase
  let proxy: Proxy
  let server: DatabaseServer
  let a: Scope
  let b: Scope
  const clientOf = (scope: Scope, on = server) => on.client(scope, open) as RawPool
  const owner = async (scope: Scope, on = server) =>
    (await clientOf(scope, on).request().query('select [owner] from [__tenant__].[items]')).recordset[0]?.['owner']
  const throughProxy = (target: string) => {
    const made = new URL(target)
    made.port = String(proxy.port)
    return made.href
  }
  const opened = (options: Parameters<typeof mssqlServer>[1] = {}) =>
    mssqlServer(database, { url: throughProxy(database.url), poolSize: 1, ...options })
  /** Joins of nothing but numbers take a while everywhere. */
  const slow = (pool: { request(): RawRequest }) => {
    const numbers = '(values (1),(2),(3),(4),(5),(6),(7),(8),(9),(10))'
    const joins = 'abcdefgh'.split('').map((name) => `${numbers} as ${name}(x)`)
    return pool
      .request()
      .query(`select count(*) as n from ${joins.join(' cross join ')} where a.x + b.x + c.x + d.x > 1`)
  }

  beforeAll(async () => {
    database = await mssqlDatabase(url)
    proxy = await startProxy({ target: proxyTarget })
    server = opened()
    await server.open()
    ;[a, b] = [placedScope(namespaceStrategy('schema')), placedScope(namespaceStrategy('schema'))]
    for (const [scope, name] of [
      [a, 'a'],
      [b, 'b'],
    ] as const) {
      await server.inNamespace(scope, async (session) => {
        await session.ensure()
        await session.run(server.parseDdl('CREATE TABLE [items] ([owner] nvarchar(9) NOT NULL)').render(scope))
        await session.seal()
      })
      await clientOf(scope).request().input('o', name).query('insert into [__tenant__].[items] ([owner]) values (@o)')
    }
  })
  afterAll(async () => {
    await server?.close()
    await proxy?.stop()
    await database?.drop()
  })
  beforeEach(() => proxy.refuse(false))

  it('an idle one that is cut is not handed on', async () => {
    for (let round = 0; round < 3; round++) {
      expect(await owner(a)).toBe('a')
      proxy.sever()
      await new Promise((done) => setTimeout(done, 50))
      expect(await owner(b)).toBe('b')
    }
  })

  it('one that is cut in the middle of a statement fails that with 503, and the next gets a new one', async () => {
    const failing = failureOf(() => slow(clientOf(a)))
    await new Promise((done) => setTimeout(done, 100))
    proxy.sever()
    expect(await failing).toBe(UNAVAILABLE)
    expect(await owner(b)).toBe('b')
  })

  it('one that is cut in a transaction undoes it, and ends neither the process nor the pool', async () => {
    const transaction = clientOf(a).transaction()
    await transaction.begin()
    await transaction.request().query('delete from [__tenant__].[items]')
    proxy.sever()
    await new Promise((done) => setTimeout(done, 100))
    expect(await failureOf(() => transaction.request().query('select 1 as x'))).toBe(UNAVAILABLE)
    expect(await failureOf(() => transaction.commit())).toBe(UNAVAILABLE)
    await transaction.rollback()
    expect(await owner(a)).toBe('a')
    expect(await owner(b)).toBe('b')
  })

  it('one that is cut under a stream fails it', async () => {
    const request = clientOf(a).request()
    const rows = request.toReadableStream()
    const reading = failureOf(async () => {
      for await (const row of rows) void row
    })
    void request
      .query('select a.x from (values (1),(2),(3),(4),(5),(6),(7),(8),(9),(10)) as a(x) cross join sys_nothing')
      .catch(() => {})
    expect(await reading).toBeDefined()
    expect(await owner(b)).toBe('b')
  })

  it('a server that is away is told as 503, and served again when it is back', async () => {
    proxy.refuse(true)
    proxy.sever()
    expect(await failureOf(() => owner(a))).toBe(UNAVAILABLE)
    expect(await failureOf(() => server.ping())).toBe(UNAVAILABLE)
    proxy.refuse(false)
    expect(await owner(a)).toBe('a')
  })

  it('a server that could not be reached at the start is reached later', async () => {
    proxy.refuse(true)
    const late = opened()
    expect(await failureOf(() => late.open())).toBe(UNAVAILABLE)
    proxy.refuse(false)
    await late.open()
    expect(await owner(a, late)).toBe('a')
    await late.close()
  })

  it('what asks for health, in the registry or for news fails where nothing answers, and its connection is nobody’s', async () => {
    const silent = await startProxy({ target: proxyTarget })
    onTestFinished(() => silent.stop())
    const [away, adminUrl] = [withPort(database.url, silent.port), withPort(database.adminUrl, silent.port)]
    const hanging = opened({ url: away, adminUrl })
    await hanging.open()
    onTestFinished(() => hanging.close())
    const { connection, news } = hanging.registry
    const asked = [
      () => hanging.ping(),
      () => connection.query('select 1 as one'),
      () => connection.transaction((query) => query('select 1 as one')),
      async () => news?.query('select 1 as one'),
    ]
    await Promise.all(asked.map((ask) => ask()))
    silent.freeze()
    const failed = async (ask: () => unknown) => {
      const since = performance.now()
      return { code: await failureOf(ask), seconds: Math.floor((performance.now() - since) / 1000) }
    }
    const gone = Promise.all(asked.map(failed))
    const expected = [5, 5, 5, 2].map((seconds) => ({ code: UNAVAILABLE, seconds }))
    expect(await Promise.race([gone, sleep(8000)])).toEqual(expected)
    const one = [{ one: 1 }]
    expect(await Promise.all(asked.map((ask) => ask()))).toEqual([undefined, one, one, one])
    expect(hanging.stats()['news']).toEqual({ total: 1, idle: 1, waiting: 0 })
  })

  it('a statement is one network turn', async () => {
    await owner(a)
    proxy.resetCounters()
    await owner(b)
    expect(proxy.turns).toBe(1)
  })

  it('[W61] a crowd before one connection: everybody is answered with their own', async () => {
    const asked = Array.from({ length: 40 }, (_, i) => (i % 2 === 0 ? a : b))
    const answers = await Promise.all(asked.map((scope) => owner(scope)))
    expect(answers).toEqual(asked.map((scope) => (scope === a ? 'a' : 'b')))
    expect(server.stats()['serving']).toEqual({ total: 1, idle: 1, waiting: 0 })
  })

  it('connections grow old and are replaced', async () => {
    const old = opened({ poolRecycle: 0 })
    await old.open()
    const session = async () => (await clientOf(a, old).request().query('select @@spid as id')).recordset[0]?.['id']
    expect(await session()).not.toBe(await session())
    await old.close()
  })

  it('closing waits for what runs, refuses what comes, and cuts what takes too long', async () => {
    const patient = opened({ poolSize: 2 })
    await patient.open()
    const running = clientOf(a, patient).transaction()
    await running.begin()
    const closing = patient.close()
    expect(await failureOf(() => owner(b, patient))).toBe('TENANCY_ERR_CLOSED')
    await running.commit()
    await closing
    const hasty = opened({ closeTimeout: 0.2 })
    await hasty.open()
    const held = clientOf(a, hasty).transaction()
    await held.begin()
    await hasty.close()
    expect(await failureOf(() => held.commit())).toBe(UNAVAILABLE)
  })
})
