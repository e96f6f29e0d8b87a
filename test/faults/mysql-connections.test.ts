import { sql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/mysql2'
import { int, mysqlTable } from 'drizzle-orm/mysql-core'
import { createServer } from 'node:net'
import { afterAll, beforeAll, beforeEach, expect, it, onTestFinished } from 'vitest'
import type { DatabaseServer } from '../../src/contracts/dialect.ts'
import type { Scope } from '../../src/contracts/isolation.ts'
import { namespaceStrategy } from '../../src/isolation/namespace.ts'
import { adoptTables } from '../../src/sql/adopt.ts'
import { codeOf } from '../attack/operation.ts'
import { withPort } from '../servers/database.ts'
import { type Proxy, startProxy } from '../servers/proxy.ts'
import { describeWith } from '../servers/suite.ts'
import { open, placedScope } from '../support/database.ts'
import { asRoot, type MysqlDatabase, mysqlDatabase, mysqlServer } from '../support/mysql.ts'

const items = mysqlTable('items', {
  id: int('id').primaryKey(),
  n: int('n').notNull().default(0),
})
adoptTables({ items })

const UNAVAILABLE = 'TENANCY_ERR_DATABASE_UNAVAILABLE'
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))
const failureOf = async (work: () => unknown): Promise<string | undefined> => {
  try {
    await work()
    return undefined
  } catch (error) {
    return codeOf(error)
  }
}

describeWith(['mariadb'], 'connections to MariaDB', ({ mariadb }) => {
  let database: MysqlDatabase
  let server: DatabaseServer
  let a: Scope
  let b: Scope
  const opened = async (options: Parameters<typeof mysqlServer>[1] = {}) => {
    const one = mysqlServer(database, {
      poolSize: 1,
      poolTimeout: 2,
      ...options,
    })
    onTestFinished(() => one.close())
    await one.open()
    return one
  }
  const throughProxy = async (): Promise<[DatabaseServer, Proxy]> => {
    const proxy = await startProxy({ target: mariadb.port })
    onTestFinished(() => proxy.stop())
    return [await opened({ url: withPort(database.url, proxy.port) }), proxy]
  }
  const dbOf = (scope: Scope, on = server) => drizzle({ client: on.client(scope, open) as never })
  type Db = ReturnType<typeof dbOf>
  const idOf = async (db: Pick<Db, 'execute'>) => {
    const [[row]] = (await db.execute(sql`select connection_id() as id`)) as unknown as [[{ id: number }]]
    return row.id
  }
  const kill = (id: number) => asRoot(database.superUrl, [`kill ${id}`])
  const serving = () =>
    asRoot<{ id: number; command: string }>(database.superUrl, [
      `select id, command from information_schema.processlist where user = '${database.servingUser}'`,
    ])
  const ids = async (scope: Scope) => (await dbOf(scope).select().from(items)).map(({ id }) => id).sort((x, y) => x - y)

  beforeAll(async () => {
    database = await mysqlDatabase(mariadb.url)
    server = mysqlServer(database)
    await server.open()
    ;[a, b] = [placedScope(namespaceStrategy('schema')), placedScope(namespaceStrategy('schema'))]
    for (const scope of [a, b]) {
      await server.inNamespace(scope, async (session) => {
        await session.ensure()
        await session.run(
          server.parseDdl('create table items (id int primary key, n int not null default 0)').render(scope),
        )
      })
    }
  })
  afterAll(async () => {
    await server?.close()
    await database?.drop()
  })
  beforeEach(async () => {
    for (const [scope, id] of [
      [a, 1],
      [b, 2],
    ] as const) {
      await dbOf(scope).delete(items)
      await dbOf(scope).insert(items).values({ id })
    }
  })

  it('what asks for health or in the registry fails where nothing answers, and its connection is nobody’s', async () => {
    const proxy = await startProxy({ target: mariadb.port })
    onTestFinished(() => proxy.stop())
    const [url, adminUrl] = [withPort(database.url, proxy.port), withPort(database.adminUrl, proxy.port)]
    const away = await opened({ url, adminUrl })
    const look = () => away.registry.connection.query('select 1 as one')
    await Promise.all([away.ping(), look()])
    proxy.freeze()
    const asked = [() => away.ping(), look].map(failureOf)
    expect(await Promise.race([Promise.all(asked), pause(8000)])).toEqual([UNAVAILABLE, UNAVAILABLE])
    await away.ping()
    expect(await look()).toEqual([{ one: 1 }])
  })

  it('an idle one that is killed is not handed on', async () => {
    const one = await opened()
    for (let round = 0; round < 5; round++) {
      const id = await idOf(dbOf(a, one))
      await kill(id)
      await pause(30)
      expect(await idOf(dbOf(b, one))).not.toBe(id)
    }
  })

  it('one that is killed in the middle of a statement fails that, and the next gets a new one', async () => {
    const one = await opened()
    const id = await idOf(dbOf(a, one))
    const slow = failureOf(() => dbOf(a, one).execute(sql`select sleep(20)`))
    await pause(50)
    await kill(id)
    expect(await slow).toBe(UNAVAILABLE)
    expect(await idOf(dbOf(b, one))).not.toBe(id)
  })

  it('KILL QUERY fails the statement and keeps the connection', async () => {
    const one = await opened()
    const id = await idOf(dbOf(a, one))
    const slow = failureOf(() => dbOf(a, one).execute(sql`select * from ${items} where sleep(20) = 0`))
    await pause(50)
    await asRoot(database.superUrl, [`kill query ${id}`])
    expect(await slow).toMatch(/INTERRUPTED/)
    expect(await idOf(dbOf(b, one))).toBe(id)
  })

  it('one that dies between two statements of a transaction ends neither the process nor the pool', async () => {
    const one = await opened()
    const work = dbOf(a, one).transaction(async (tx) => {
      await tx.insert(items).values({ id: 10 })
      await kill(await idOf(tx))
      await pause(50)
      // Somebody else has its place already.
      expect(await dbOf(b, one).select().from(items)).toEqual([{ id: 2, n: 0 }])
      await tx.insert(items).values({ id: 11 })
    })
    expect(await failureOf(() => work)).toBe(UNAVAILABLE)
    expect(await ids(a)).toEqual([1])
    const lazy = one.lazyTransaction(a, open)
    const db = drizzle({ client: lazy.client as never })
    await db.insert(items).values({ id: 12 })
    await kill(await idOf(db))
    await pause(50)
    expect(await failureOf(() => db.insert(items).values({ id: 13 }))).toBe(UNAVAILABLE)
    expect(await failureOf(() => lazy.commit())).toBe(UNAVAILABLE)
    await lazy.rollback()
    expect(await ids(a)).toEqual([1])
  })

  it('the transaction of a request goes on after a nested one that could not begin', async () => {
    const lazy = (await opened()).lazyTransaction(a, open)
    const db = drizzle({ client: lazy.client as never })
    const nested = db.transaction(async () => {}, { isolationLevel: 'serializable' })
    await expect(nested).rejects.toThrow()
    expect(await idOf(db)).toBeGreaterThan(0)
    await lazy.rollback()
  })

  it('one that dies under an iterator fails it', async () => {
    const one = await opened()
    await dbOf(a)
      .insert(items)
      .values(Array.from({ length: 3000 }, (_, i) => ({ id: 100 + i })))
    const read = async () => {
      let rows = 0
      const query = dbOf(a, one)
        .select({ id: items.id, n: sql`if(${items.id} > 200, sleep(0.01), 0)` })
        .from(items)
        .prepare()
      for await (const _ of query.iterator()) {
        if (++rows !== 1) continue
        for (const { id } of await serving()) await kill(id)
      }
    }
    expect(await failureOf(read)).toBe(UNAVAILABLE)
    expect(await dbOf(b, one).select().from(items)).toHaveLength(1)
  })

  it('a typeCast that throws costs the connection: the rest of its rows are nobody’s answer', async () => {
    const one = await opened()
    await dbOf(a)
      .insert(items)
      .values(Array.from({ length: 5000 }, (_, i) => ({ id: 100 + i })))
    const client = one.client(a, open) as {
      query(config: object): Promise<[unknown[]]>
      getConnection(): Promise<Held>
    }
    interface Held {
      query(config: object | string): Promise<unknown>
      release(): void
    }
    const typeCast = () => {
      throw new TypeError('no cast')
    }
    // Each row comes by itself: when the first one fails, the others are still to come.
    const bad = {
      sql: "select id, repeat('x', 40000) as pad, sleep(0.02) as slow from `__tenant__`.`items` limit 20",
      typeCast,
    }
    const other = one.client(b, open) as typeof client
    for (let round = 0; round < 10; round++) {
      const [failed, [rows]] = await Promise.all([
        client.query(bad).catch((error: unknown) => error),
        other.query({ sql: 'select * from `__tenant__`.`items`' }),
      ])
      expect(failed).toBeInstanceOf(TypeError)
      expect(rows).toEqual([{ id: 2, n: 0 }])
    }
    const held = await client.getConnection()
    await expect(held.query(bad)).rejects.toThrow('no cast')
    await expect(held.query('select 1')).rejects.toThrow()
    held.release()
  })

  it('all that are cut by the network are replaced', async () => {
    const [one, proxy] = await throughProxy()
    await idOf(dbOf(a, one))
    const slow = failureOf(() => dbOf(a, one).execute(sql`select sleep(20)`))
    await pause(50)
    proxy.sever()
    expect(await slow).toBe(UNAVAILABLE)
    expect(await dbOf(b, one).select().from(items)).toEqual([{ id: 2, n: 0 }])
    proxy.refuse(true)
    proxy.sever()
    await pause(30)
    expect(await failureOf(() => dbOf(a, one).select().from(items))).toBe(UNAVAILABLE)
    expect(await failureOf(() => one.ping())).toBe(UNAVAILABLE)
    proxy.refuse(false)
    expect(await dbOf(b, one).select().from(items)).toEqual([{ id: 2, n: 0 }])
    expect(one.stats()['serving']).toEqual({ total: 1, idle: 1, waiting: 0 })
    for (const { id, command } of await serving()) if (command === 'Query') await kill(id)
  })

  it('a server that is not there is told at once, one that does not answer soon', async () => {
    const down = mysqlServer({ ...database, url: withPort(database.url, 1) })
    expect(await failureOf(() => down.open())).toBe(UNAVAILABLE)
    const silent = createServer()
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve))
    onTestFinished(() => void silent.close())
    const { port } = silent.address() as { port: number }
    const mute = mysqlServer({
      ...database,
      url: withPort(database.url, port),
    })
    const before = Date.now()
    expect(await failureOf(() => mute.open())).toBe(UNAVAILABLE)
    expect(Date.now() - before).toBeLessThan(6000)
    const wrong = new URL(database.url)
    wrong.password = 'wrong'
    expect(await failureOf(() => mysqlServer({ ...database, url: wrong.href }).open())).toBe(UNAVAILABLE)
    await down.close()
  })

  it('a server that could not be reached is reached later', async () => {
    const proxy = await startProxy({ target: mariadb.port })
    onTestFinished(() => proxy.stop())
    proxy.refuse(true)
    const one = mysqlServer(database, {
      url: withPort(database.url, proxy.port),
    })
    expect(await failureOf(() => one.open())).toBe(UNAVAILABLE)
    expect(() => one.client(a, open)).toThrow(/No tenancy instance is running/)
    proxy.refuse(false)
    await one.open()
    expect(await dbOf(a, one).select().from(items)).toHaveLength(1)
    await one.close()
  })

  it('[W61] bounded waiting in a crowd: everybody is answered, and nobody twice', async () => {
    const one = await opened({ poolTimeout: 1 })
    const held = dbOf(a, one).transaction(async (tx) => {
      await tx.execute(sql`select sleep(1.5)`)
    })
    await pause(30)
    const answers = await Promise.all(
      Array.from({ length: 50 }, () => failureOf(() => dbOf(b, one).select().from(items))),
    )
    expect(new Set(answers)).toEqual(new Set(['TENANCY_ERR_POOL_TIMEOUT']))
    await held
    await pause(50)
    expect(one.stats()['serving']).toEqual({ total: 1, idle: 1, waiting: 0 })
    expect(await dbOf(b, one).select().from(items)).toHaveLength(1)
  })

  it('connections grow old and are replaced', async () => {
    const short = await opened({ poolRecycle: 0 })
    await pause(5)
    const first = await idOf(dbOf(a, short))
    expect(await idOf(dbOf(a, short))).not.toBe(first)
  })

  it('closing waits for what runs, refuses what comes, and cuts what takes too long', async () => {
    const patient = mysqlServer(database, { poolSize: 2, closeTimeout: 5 })
    await patient.open()
    const running = failureOf(() => dbOf(a, patient).execute(sql`select sleep(0.3)`))
    await pause(50)
    const closing = patient.close()
    expect(await failureOf(() => dbOf(b, patient).select().from(items))).toBe('TENANCY_ERR_CLOSED')
    expect(await running).toBeUndefined()
    await closing
    await patient.close()
    const impatient = mysqlServer(database, { poolSize: 1, closeTimeout: 0.2 })
    await impatient.open()
    const endless = failureOf(() => dbOf(a, impatient).execute(sql`select sleep(20)`))
    const waiting = failureOf(() => dbOf(b, impatient).select().from(items))
    await pause(50)
    const before = Date.now()
    await impatient.close()
    expect(Date.now() - before).toBeLessThan(2000)
    expect(await endless).toBe(UNAVAILABLE)
    expect(await waiting).toBe('TENANCY_ERR_CLOSED')
    for (const { id, command } of await serving()) if (command === 'Query') await kill(id)
  })

  it('nothing is left behind: no connection, no lock, no transaction', async () => {
    const one = mysqlServer(database, { poolSize: 3 })
    const before = (await serving()).length
    await one.open()
    await Promise.all(Array.from({ length: 20 }, () => dbOf(a, one).transaction((tx) => tx.select().from(items))))
    expect((await serving()).length).toBe(before + 3)
    await one.close()
    await pause(50)
    expect((await serving()).length).toBe(before)
    expect(await asRoot(database.superUrl, ['select * from information_schema.innodb_trx'])).toEqual([])
  })
})
