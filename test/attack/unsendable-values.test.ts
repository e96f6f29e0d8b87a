import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PGlite } from '@electric-sql/pglite'
import { sql } from 'drizzle-orm'
import { drizzle as drizzlePg } from 'drizzle-orm/node-postgres'
import { drizzle } from 'drizzle-orm/pglite'
import pg from 'pg'
import Fastify, { type FastifyInstance } from 'fastify'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { assertCleanBinds } from '../../src/dialects/postgres/drivers/pg-clean-binds.ts'
import { tenancy, type TenancyOptions } from '../../src/index.ts'
import type { TestDatabase } from '../servers/database.ts'
import { describeWith } from '../servers/suite.ts'
import { baselineDatabase } from '../support/database.ts'
import { codeNow } from '../support/errors.ts'
import { add, addMigrations, db, itemsMigration, namesIn } from '../faults/fixture.ts'

/*
 * A value that a driver cannot send is found when those before it are written already. pg-protocol 1.14 and PGlite write into
 * buffers that all connections of the process share and do not empty: the next Bind began with the values of another tenant.
 */

const SECRET = 'secret of acme'
const circular: { self?: unknown } = {}
circular.self = circular
const fails = () => {
  throw new TypeError('it cannot be sent')
}

/** What cannot be sent as the value of a parameter, and as an element of `any($n)`. */
const unsendable: Readonly<Record<string, unknown>> = {
  'an object with a bigint': { amount: 1n },
  'a circular object': circular,
  'an object that throws': { toJSON: fails, toPostgres: fails, toString: fails },
  'JSON that is nothing': { toJSON: () => undefined },
  'a number for an array': 5,
  'what says it is an array': { length: 1 },
}

let migrations = ''
beforeAll(async () => {
  migrations = await mkdtemp(join(tmpdir(), 'tenancy-migrations-'))
  await addMigrations(migrations, 1, itemsMigration)
})
afterAll(() => rm(migrations, { recursive: true, force: true }))

/** @returns what looks whether all is well */
function attack(appWith: () => Promise<FastifyInstance>): () => Promise<void> {
  let app: FastifyInstance
  const as = <T>(tenant: string, work: () => Promise<T>) => app.tenancy.run(tenant, work)

  beforeAll(async () => {
    app = await appWith()
    for (const identifier of ['acme', 'globex']) {
      await app.tenancy.register({ identifier })
      await as(identifier, () => add(`of ${identifier}`))
    }
  }, 120_000)
  afterAll(() => app?.close())

  const unharmed = async () => {
    for (let i = 0; i < 3; i++) {
      const { rows } = await as('globex', () => db().execute(sql`select ${'mine'}::text as a, ${'2'}::text as b`))
      expect(rows).toEqual([{ a: 'mine', b: '2' }])
    }
    await as('globex', () => db().execute(sql`update items set name = ${'of globex'} where name = ${'of globex'}`))
    expect(await namesIn(app, 'globex')).toEqual(['of globex'])
    expect(await namesIn(app, 'acme')).toEqual(['of acme'])
    expect((await app.tenancy.get('globex'))?.status).toBe('active')
  }

  it.each(Object.entries(unsendable))('%s harms nobody else', async (_name, value) => {
    for (const failing of [
      sql`select ${SECRET}::text, ${value}::jsonb`,
      sql`update items set name = ${SECRET} where id = any(${value}::int[])`,
      sql`insert into items (name) values (${SECRET}), (${SECRET}), (${value}::bytea::text)`,
    ]) {
      const outcome = await as('acme', () =>
        db()
          .transaction(async (tx) => {
            await tx.execute(failing)
            throw new Error('undo')
          })
          .catch(() => 'failed'),
      )
      expect(outcome).toBe('failed')
      await unharmed()
      await as('acme', () =>
        db()
          .execute(sql`select ${SECRET}::text, ${value}::jsonb`)
          .catch(() => {}),
      )
      await unharmed()
    }
  })

  return () => unharmed()
}

describe('values that cannot be sent, on PGlite', () => {
  describe.each<TenancyOptions>([{}, { tenantRoles: true }])('%o', (options) => {
    const unharmed = attack(async () => {
      const app = Fastify({ pluginTimeout: 120_000 })
      const embedded = {
        databaseUrl: 'pglite:memory',
        drizzle: (client: object) => drizzle({ client: client as never }),
      }
      await app.register(tenancy, { migrations, ...embedded, ...options })
      return app
    })

    it('nor does what another user of PGlite in this process could not send', async () => {
      const bare = await PGlite.create()
      onTestFinished(() => bare.close())
      await expect(bare.query('select $1::text, 1 = any($2::int[])', [SECRET, 5])).rejects.toThrow()
      await unharmed()
      // It comes upon what it left itself, which goes with that.
      const broken = await Promise.all([0, 1].map(() => bare.query('select $1::text', ['x']).catch(() => 'broken')))
      expect(broken).toContain('broken')
    })
  })
})

describeWith(['postgres15'], 'values that cannot be sent, on PostgreSQL', ({ postgres15 }) => {
  describe.each<TenancyOptions>([{ databasePoolSize: 1, databaseMaxOverflow: 0 }, { databasePoolSize: 5 }])(
    '%o',
    (options) => {
      let database: TestDatabase
      // After the app is closed: what was asked for last is done first.
      afterAll(() => database?.drop())
      attack(async () => {
        database = await baselineDatabase(postgres15.url)
        const app = Fastify({ pluginTimeout: 120_000 })
        await app.register(tenancy, {
          migrations,
          databaseUrl: database.appUrl,
          adminDatabaseUrl: database.adminUrl,
          drizzle: (client) => drizzlePg({ client }),
          ...options,
        })
        return app
      })
    },
  )
})

it('a start refuses a pg that leaves them for the next statement', () => {
  const real = pg as unknown as Parameters<typeof assertCleanBinds>[0]
  assertCleanBinds(real)
  let buffer: unknown[] = []
  /** As pg-protocol 1.14 writes. */
  class Connection extends (real.Connection as new () => object) {
    bind({ values, valueMapper = String }: { values: unknown[]; valueMapper?: (value: unknown) => unknown }) {
      for (const value of values) buffer.push(valueMapper(value))
      ;(this as unknown as { _send(bytes: Uint8Array): void })._send(Buffer.from(JSON.stringify(buffer)))
      buffer = []
    }
  }
  expect(codeNow(() => assertCleanBinds({ ...real, Connection } as never))).toBe('TENANCY_ERR_PEER_UNSAFE')
})
