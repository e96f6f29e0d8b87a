import { EventEmitter } from 'node:events'
import { request as httpRequest } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { Readable } from 'node:stream'
import { setTimeout as wait } from 'node:timers/promises'
import { sql } from 'drizzle-orm'
import Fastify, { type FastifyInstance } from 'fastify'
import type pg from 'pg'
import Cursor from 'pg-cursor'
import QueryStream from 'pg-query-stream'
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import tenancy, {
  getContextMetadata,
  getTenant,
  getTenantDb,
  runWithoutTenant,
  runWithTenant,
  tryGetTenant,
} from '../../src/index.ts'
import type { TestDatabase } from '../servers/database.ts'
import { describeWith } from '../servers/suite.ts'
import { as, optionsFor, type PlainDb, tenantApp } from '../support/app.ts'
import { baselineDatabase } from '../support/database.ts'

const tenants = ['acme', 'globex', 'initech'] as const
const db = () => getTenantDb() as PlainDb
const here = () => tryGetTenant()?.identifier
const schema = async (on = db()) => (await on.execute<{ s: string }>(sql`select current_schema() as s`)).rows[0]?.s

describeWith(['postgres18'], 'the tenant context', ({ postgres18 }) => {
  let database: TestDatabase
  let app: FastifyInstance
  let port: number
  /** Every hook and callback of a request notes what it saw: `where:asked=seen`. */
  let seen: string[] = []
  const note = (where: string, request: { headers: Record<string, unknown> }) =>
    seen.push(`${where}:${String(request.headers['x-tenant-id'])}=${here()}`)

  beforeAll(async () => {
    database = await baselineDatabase(postgres18.url)
    app = await tenantApp(database, {}, { logger: false })
    for (const stage of [
      'preParsing',
      'preValidation',
      'preHandler',
      'preSerialization',
      'onSend',
      'onResponse',
      'onError',
    ] as const) {
      app.addHook(
        stage as 'preHandler',
        async (request: { headers: Record<string, unknown> }) => void note(stage, request),
      )
    }
    app.addHook('onRequestAbort', async (request) => void note('onRequestAbort', request))
    app.setErrorHandler((error, request, reply) => {
      note('errorHandler', request)
      void reply.code(500).send({ message: (error as Error).message })
    })
    app.post('/deep', async (request) => {
      await wait(1)
      note('timer', request)
      const emitter = new EventEmitter()
      emitter.on('x', () => note('emitter', request))
      setImmediate(() => emitter.emit('x'))
      await new Promise<void>((resolve) => process.nextTick(() => queueMicrotask(resolve)))
      note('microtask', request)
      for await (const _ of Readable.from(['a', 'b'])) note('stream', request)
      await wait(2)
      return { tenant: getTenant().identifier, schema: await schema(), size: JSON.stringify(request.body).length }
    })
    app.get('/slow/:ms', async (request) => {
      await wait(Number((request.params as { ms: string }).ms))
      return `${here()} ${await schema()}`
    })
    app.get('/fail', async () => {
      throw new Error(`failed for ${here()}`)
    })
    app.get('/free', { config: { tenancy: false } }, async () => `${here()}`)
    app.get('/notes', async () => {
      const before = [...getContextMetadata().keys()]
      getContextMetadata().set('user', here())
      return before
    })
    app.get('/stream', async (_request, reply) => {
      const text = async function* () {
        for (let i = 0; i < 3; i++) yield `${here()} ${await schema()}\n`
      }
      return reply.type('text/plain').send(Readable.from(text()))
    })
    for (const identifier of tenants) await app.tenancy.ensure({ identifier })
    await app.listen({ port: 0, host: '127.0.0.1' })
    port = (app.server.address() as AddressInfo).port
  })
  afterAll(async () => {
    await app?.close()
    await database?.drop()
  })

  const schemaOf = async (identifier: string) => (await app.tenancy.get(identifier))?.placement.namespace

  it('survives body parsing, timers, emitters, streams and every hook, with many requests at once', async () => {
    seen = []
    const body = JSON.stringify({ text: 'x'.repeat(300_000) })
    const answers = await Promise.all(
      Array.from({ length: 60 }, async (_, i) => {
        const tenant = tenants[i % 3] as string
        const response = await fetch(`http://127.0.0.1:${port}/deep`, {
          method: 'POST',
          headers: { ...as(tenant), 'content-type': 'application/json' },
          body,
        })
        return { tenant, answer: (await response.json()) as { tenant: string; schema: string } }
      }),
    )
    for (const { tenant, answer } of answers) {
      expect(answer).toMatchObject({ tenant, schema: await schemaOf(tenant), size: body.length })
    }
    await wait(20)
    const stages = new Set(seen.map((line) => line.split(':')[0]))
    expect(stages).toEqual(
      new Set([
        'preParsing',
        'preValidation',
        'preHandler',
        'timer',
        'emitter',
        'microtask',
        'stream',
        'preSerialization',
        'onSend',
        'onResponse',
      ]),
    )
    expect(seen.filter((line) => !/:(\w+)=\1$/.test(line))).toEqual([])
  })

  it('survives error handlers', async () => {
    seen = []
    const answer = await (await fetch(`http://127.0.0.1:${port}/fail`, { headers: as('globex') })).json()
    expect(answer).toEqual({ message: 'failed for globex' })
    await wait(5)
    expect(seen).toEqual(
      expect.arrayContaining([
        'errorHandler:globex=globex',
        'onError:globex=globex',
        'onSend:globex=globex',
        'onResponse:globex=globex',
      ]),
    )
  })

  it('streams a reply in its own context', async () => {
    const texts = await Promise.all(
      tenants.map(async (tenant) => (await fetch(`http://127.0.0.1:${port}/stream`, { headers: as(tenant) })).text()),
    )
    for (const [i, tenant] of tenants.entries())
      expect(texts[i]).toBe(`${tenant} ${await schemaOf(tenant)}\n`.repeat(3))
  })

  it('never bleeds between requests that share a socket, also when pipelined or opted out', async () => {
    seen = []
    const requests = Array.from({ length: 30 }, (_, i) =>
      i % 4 === 3
        ? 'GET /free HTTP/1.1\r\nHost: x\r\n\r\n'
        : `GET /slow/${(7 * i) % 5} HTTP/1.1\r\nHost: x\r\nx-tenant-id: ${tenants[i % 3]}\r\n\r\n`,
    )
    const expected = await Promise.all(
      requests.map(async (_, i) =>
        i % 4 === 3 ? 'undefined' : `${tenants[i % 3]} ${await schemaOf(tenants[i % 3] as string)}`,
      ),
    )
    for (const batch of [1, 5, 30]) {
      const bodies = await overOneSocket(port, requests, batch)
      expect(bodies).toEqual(expected)
    }
    await wait(20)
    // A late hook may have lost its context; it must never have somebody else's.
    expect(seen.filter((line) => !/:(\w+)=(\1|undefined)$/.test(line))).toEqual([])
    expect(seen.filter((line) => /^onResponse:(?!undefined)\w+=undefined$/.test(line))).toEqual([])
  })

  it('never bleeds into hooks from before the plugin, for requests that such a hook answered', async () => {
    const early = Fastify()
    const after: string[] = []
    early.addHook('onRequest', async (request, reply) =>
      request.headers['x-stop'] ? reply.code(429).send('stop') : undefined,
    )
    early.addHook(
      'onResponse',
      async (request) => void after.push(`${String(request.headers['x-tenant-id'])}=${here()}`),
    )
    await early.register(tenancy, optionsFor(database))
    early.get('/slow/:ms', async (request) => wait(Number((request.params as { ms: string }).ms), 'ok'))
    await early.listen({ port: 0, host: '127.0.0.1' })
    const requests = Array.from({ length: 12 }, (_, i) =>
      i % 2 === 0
        ? `GET /slow/${20 - i} HTTP/1.1\r\nHost: x\r\nx-tenant-id: acme\r\n\r\n`
        : 'GET /slow/0 HTTP/1.1\r\nHost: x\r\nx-stop: 1\r\n\r\n',
    )
    await overOneSocket((early.server.address() as AddressInfo).port, requests, 12)
    await wait(20)
    expect(after.toSorted()).toEqual([...Array(6).fill('acme=acme'), ...Array(6).fill('undefined=undefined')])
    await early.close()
  })

  it('gives callbacks of cursors and streams their own context, whoever opened the connection', async () => {
    const grown = await tenantApp(database, { databasePoolSize: 3 })
    const clientOf = async () => (db() as unknown as { $client: pg.Pool }).$client.connect()
    grown.get('/busy', async () => (await db().execute(sql`select pg_sleep(0.05)`)).rows)
    grown.get('/stream', async () => {
      const client = await clientOf()
      const schemas: unknown[] = []
      await new Promise<void>((resolve, reject) => {
        const stream = client.query(new QueryStream('select generate_series(1, 3) as n'))
        stream
          .on('data', () => schemas.push(schema()))
          .on('end', resolve)
          .on('error', reject)
      })
      client.release()
      return Promise.all(schemas)
    })
    grown.get('/cursor', async () => {
      const client = await clientOf()
      const cursor = client.query(new Cursor('select generate_series(1, 3) as n'))
      const seen = await new Promise((resolve) => cursor.read(2, () => resolve(here())))
      await cursor.close()
      client.release()
      return [seen]
    })
    await Promise.all(Array.from({ length: 6 }, () => grown.inject({ url: '/busy', headers: as('acme') })))
    for (let i = 0; i < 4; i++) {
      const globex = await schemaOf('globex')
      expect((await grown.inject({ url: '/stream', headers: as('globex') })).json()).toEqual([globex, globex, globex])
      expect((await grown.inject({ url: '/cursor', headers: as('globex') })).json()).toEqual(['globex'])
    }
    await grown.close()
  })

  it('serialises parameters in the context of who sends them, also after a wait', async () => {
    const single = await tenantApp(database, { databasePoolSize: 1 })
    for (const tenant of tenants) await single.tenancy.run(tenant, () => 1)
    const value = { toPostgres: () => here() ?? 'nobody' }
    const asked = Array.from({ length: 24 }, (_, i) => tenants[i % 3] as string)
    const written = await Promise.all(
      asked.map((tenant) =>
        single.tenancy.run(tenant, async () => {
          const { $client } = db() as unknown as { $client: pg.Pool }
          return (await $client.query('select $1::text as who', [value])).rows[0].who as string
        }),
      ),
    )
    expect(written).toEqual(asked)
    await single.close()
  })

  it('leaves the outer context when it refuses a request that was injected inside of one', async () => {
    const inner = await tenantApp(database)
    const saw: unknown[] = []
    inner.addHook('onSend', async () => void saw.push(here()))
    inner.get('/who', async () => here())
    await app.tenancy.run('acme', () => inner.inject({ url: '/who', headers: as('nobody-here') }))
    await app.tenancy.run('acme', () => inner.inject({ url: '/who' }))
    expect(saw).toEqual([undefined, undefined])
    await inner.close()
  })

  it.each(['preValidation', 'preHandler'] as const)(
    'is none in what comes before %s of a request that was injected inside of one',
    async (hook) => {
      const later = await tenantApp(database, { hook })
      onTestFinished(() => later.close())
      const before: unknown[] = []
      later.addHook('onRequest', async () => void before.push(here()))
      later.get('/inner', async () => here())
      later.get('/open', { config: { tenancy: false } }, async () => here() ?? 'nobody')
      later.get('/outer', async () => {
        const inner = await later.inject({ url: '/inner', headers: as('globex') })
        return [inner.body, (await later.inject('/open')).body]
      })
      const answer = await later.inject({ url: '/outer', headers: as('acme') })
      expect(answer.json()).toEqual(['globex', 'nobody'])
      expect(before).toEqual([undefined, undefined, undefined])
    },
  )

  it('[W15] keeps notes with their request', async () => {
    const agentless = () => app.inject({ url: '/notes', headers: as('acme') })
    expect((await agentless()).json()).toEqual([])
    expect((await agentless()).json()).toEqual([])
    await app.tenancy.run('acme', async () => {
      getContextMetadata().set('outer', 1)
      await runWithTenant('globex', () => expect([...getContextMetadata().keys()]).toEqual([]))
      await db().transaction(async () => expect(getContextMetadata().get('outer')).toBe(1))
    })
    expect(() => getContextMetadata()).toThrow(/No tenant in the current context/)
  })

  it('gives an aborted request nobody else’s context', async () => {
    seen = []
    await Promise.all(
      Array.from({ length: 20 }, async (_, i) => {
        const request = httpRequest({
          port,
          host: '127.0.0.1',
          path: '/slow/30',
          headers: as(tenants[i % 3] as string),
        })
        request.on('error', () => {})
        request.end()
        await wait(5 + i)
        request.destroy()
      }),
    )
    await wait(80)
    expect(seen.some((line) => line.startsWith('onRequestAbort'))).toBe(true)
    expect(seen.filter((line) => !/:(\w+)=(\1|undefined)$/.test(line))).toEqual([])
  })

  it('runs jobs as a tenant: nested, restored on throw, lazy builders awaited inside', async () => {
    expect(here()).toBeUndefined()
    await runWithTenant('acme', async (acme) => {
      expect(here()).toBe('acme')
      await expect(
        runWithTenant('globex', async () => {
          expect(here()).toBe('globex')
          expect(await schema()).toBe(await schemaOf('globex'))
          await runWithoutTenant(async () => {
            expect(here()).toBeUndefined()
            expect(() => getTenantDb()).toThrow(/No tenant in the current context/)
          })
          throw new Error('out')
        }),
      ).rejects.toThrow('out')
      expect(here()).toBe('acme')
      expect(await schema()).toBe(acme.placement.namespace)
    })
    const lazy = await runWithTenant('initech', () => db().execute<{ s: string }>(sql`select current_schema() as s`))
    expect(lazy.rows[0]?.s).toBe(await schemaOf('initech'))
    expect(here()).toBeUndefined()
  })

  it('believes only the id of a tenant object, and loads the rest anew', async () => {
    const acme = await app.tenancy.get('acme')
    const globex = await app.tenancy.get('globex')
    const forged = { ...acme, id: acme?.id ?? '', status: 'active', placement: globex?.placement } as const
    expect(await runWithTenant(forged, () => schema())).toBe(acme?.placement.namespace)
    await app.tenancy.suspend('acme')
    await expect(runWithTenant(forged, () => 1)).rejects.toMatchObject({ code: 'TENANCY_ERR_TENANT_SUSPENDED' })
    await app.tenancy.activate('acme')
    await expect(runWithTenant('nobody', () => 1)).rejects.toMatchObject({ code: 'TENANCY_ERR_TENANT_UNKNOWN' })
    await expect(runWithTenant({ id: 'x' }, () => 1)).rejects.toMatchObject({ code: 'TENANCY_ERR_TENANT_UNKNOWN' })
  })

  it('makes getTenantDb() and request.tenantDb the open transaction, and another tenant’s its own connection', async () => {
    await app.tenancy.run('acme', async () => {
      const outer = db()
      await outer
        .transaction(async (tx) => {
          expect(db()).toBe(tx)
          await db()
            .execute(sql`create table if not exists x (y int)`)
            .catch(() => {})
          await tx.transaction(async (inner) => expect(db()).toBe(inner)).catch(() => {})
          await runWithTenant('globex', async () => {
            expect(db()).not.toBe(tx)
            expect(await schema()).toBe(await schemaOf('globex'))
          })
          expect(db()).toBe(tx)
        })
        .catch(() => {})
      expect(db()).toBe(outer)
    })
  })

  it('refuses a kept database, query or prepared statement in the context of another tenant', async () => {
    const mismatch = { code: 'TENANCY_ERR_TENANT_MISMATCH' }
    const code = (work: () => PromiseLike<unknown>) =>
      Promise.resolve(work()).then(
        () => ({ code: undefined }),
        (error: { cause?: unknown; code?: string }) => ({ code: ((error.cause ?? error) as { code?: string }).code }),
      )
    const kept = await app.tenancy.run('acme', () => ({
      db: db(),
      query: db().execute<{ s: string }>(sql`select current_schema() as s`),
      prepared: db().select({ s: sql<string>`current_schema()` }).from(sql`(select 1) as one`).prepare('kept'),
    }))
    await app.tenancy.run('globex', async () => {
      expect(await code(() => kept.db.execute(sql`select 1`))).toEqual(mismatch)
      expect(await code(() => kept.query)).toEqual(mismatch)
      expect(await code(() => kept.prepared.execute())).toEqual(mismatch)
      expect(await code(() => kept.db.transaction(async () => 1))).toEqual(mismatch)
      await db().transaction(async () => expect(await code(() => kept.db.execute(sql`select 1`))).toEqual(mismatch))
      const both = await runWithoutTenant(() => Promise.all([schema(kept.db), kept.prepared.execute()]))
      expect(both).toEqual([await schemaOf('acme'), [{ s: await schemaOf('acme') }]])
      expect(await schema()).toBe(await schemaOf('globex'))
    })
    expect(await schema(kept.db)).toBe(await schemaOf('acme'))
    expect(app.tenancy.getMetrics().pools['serving']).toMatchObject({ waiting: 0 })
  })

  it('checks the caller’s context, not that of whoever frees the connection it waited for', async () => {
    const single = await tenantApp(database, { databasePoolSize: 1 })
    // Warm, so that the tenants alternate in the queue for the one connection.
    for (const tenant of tenants) await single.tenancy.run(tenant, () => 1)
    const results = await Promise.all(
      Array.from({ length: 60 }, async (_, i) => {
        const tenant = tenants[i % 3] as string
        return single.tenancy.run(tenant, async (self) => {
          const seen = i % 2 === 0 ? await schema() : await db().transaction((tx) => schema(tx as unknown as PlainDb))
          return seen === self.placement.namespace
        })
      }),
    )
    expect(results.every(Boolean)).toBe(true)
    await single.close()
  })
})

/** Sends raw requests over one socket, `batch` of them written at once, and gives the bodies in order. */
function overOneSocket(port: number, requests: readonly string[], batch: number): Promise<string[]> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1')
    let received = ''
    let sent = 0
    const send = () => {
      socket.write(requests.slice(sent, sent + batch).join(''))
      sent += batch
    }
    socket.on('connect', send)
    socket.on('error', reject)
    socket.on('data', (chunk) => {
      received += chunk.toString()
      const bodies = received
        .split('HTTP/1.1 ')
        .slice(1)
        .map((part) => part.slice(part.indexOf('\r\n\r\n') + 4))
      const complete = received
        .split('HTTP/1.1 ')
        .slice(1)
        .every((part) => part.length >= part.indexOf('\r\n\r\n') + 4 + Number(/content-length: (\d+)/i.exec(part)?.[1]))
      if (!complete) return
      if (bodies.length >= requests.length) {
        socket.destroy()
        resolve(bodies)
      } else if (bodies.length >= sent) send()
    })
  })
}
