import { connect, createServer, type Socket } from 'node:net'
import { sql } from 'drizzle-orm'
import type pg from 'pg'
import { afterAll, beforeAll, expect, it } from 'vitest'
import type { DatabaseServer } from '../../src/contracts/dialect.ts'
import type { Scope } from '../../src/contracts/isolation.ts'
import { type TestDatabase, withPort } from '../servers/database.ts'
import { describeWith } from '../servers/suite.ts'
import { asSuperuser, baselineDatabase, open, provisionScope, testServer } from '../support/database.ts'
import { watchForCrashes } from './attack.ts'
import { codeOf } from './operation.ts'
import { databaseOver, items, tenantDdl } from './schema.ts'

const pause = (milliseconds: number) => new Promise((done) => setTimeout(done, milliseconds))

/** What the attack found, as the smallest case that shows it. */
describeWith(['postgres15'], 'found by the attack', ({ postgres15 }) => {
  let database: TestDatabase
  let a: Scope
  let b: Scope

  const withServer = async (
    url: string,
    work: (clientOf: (scope: Scope) => pg.Pool, server: DatabaseServer) => Promise<void>,
  ) => {
    const server = testServer(database, { url, poolSize: 1, poolTimeout: 2 })
    await server.open()
    try {
      await work((scope) => server.client(scope, open) as pg.Pool, server)
    } finally {
      await Promise.race([server.close(), pause(500)])
    }
  }
  const within = <T>(work: PromiseLike<T>): Promise<T | 'hangs'> =>
    Promise.race([work, pause(2000).then(() => 'hangs' as const)])

  beforeAll(async () => {
    database = await baselineDatabase(postgres15.url)
    await withServer(database.appUrl, async (_clientOf, server) => {
      a = await provisionScope(server, tenantDdl('a'))
      b = await provisionScope(server, tenantDdl('b'))
    })
  })
  afterAll(() => database?.drop())

  it('does not make the next tenant hang when a tenant sends COPY FROM STDIN', async () => {
    await withServer(database.appUrl, async (clientOf) => {
      const copy = clientOf(a).query('copy items from stdin')
      expect(await within(copy.then(() => 'copied', codeOf))).not.toBe('hangs')
      expect(await within(databaseOver(clientOf(b)).select({ owner: items.owner }).from(items).limit(1))).toEqual([
        { owner: 'b' },
      ])
    })
  })

  it('gives the connection back after COPY FROM STDIN in a transaction', async () => {
    await withServer(database.appUrl, async (clientOf, server) => {
      const work = databaseOver(clientOf(a)).transaction((tx) => tx.execute(sql`copy items from stdin`))
      expect(await within(work.then(() => 'copied', codeOf))).not.toBe('hangs')
      expect(server.stats()['serving']).toMatchObject({ waiting: 0 })
      expect(await within(databaseOver(clientOf(b)).$count(items))).toBe(3)
    })
  })

  it('outlives a connection that dies in the moment it is handed to a waiting transaction', async () => {
    const wire = await holdableWire(postgres15.port)
    const crashes: string[] = []
    const stop = watchForCrashes({ note: (_kind, what) => void crashes.push(what) })
    await withServer(withPort(database.appUrl, wire.port), async (clientOf) => {
      const statement = clientOf(a).query('select pg_sleep(0.1)')
      const waiting = databaseOver(clientOf(b)).transaction((tx) => tx.select().from(items))
      await pause(50)
      wire.hold()
      await pause(150)
      await asSuperuser(database, (client) =>
        client.query(`select pg_terminate_backend(pid) from pg_stat_activity where usename = '${database.appRole}'`),
      )
      await pause(50)
      // The answer and the farewell of the server arrive together.
      wire.letGo()
      await statement
      expect(await within(waiting.then(() => undefined, codeOf))).toBe('TENANCY_ERR_DATABASE_UNAVAILABLE')
    })
    stop()
    await wire.stop()
    expect(crashes).toEqual([])
  })
})

/** A way to the server on which answers can be held back, to arrive in one piece. */
async function holdableWire(target: number) {
  let held: Buffer[] | undefined
  let flush = () => {}
  const sockets = new Set<Socket>()
  const server = createServer((client) => {
    const upstream = connect({ port: target, host: '127.0.0.1' })
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.on('error', () => {})
    }
    client.pipe(upstream)
    upstream.on('data', (chunk) => {
      if (held === undefined) client.write(chunk)
      else held.push(chunk)
      flush = () => void client.write(Buffer.concat(held ?? []))
    })
    upstream.on('end', () => {
      if (held === undefined) client.end()
    })
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  return {
    port: (server.address() as { port: number }).port,
    hold: () => {
      held = []
    },
    letGo: () => {
      flush()
      held = undefined
    },
    stop: async () => {
      for (const socket of sockets) socket.destroy()
      await new Promise((done) => server.close(done))
    },
  }
}
