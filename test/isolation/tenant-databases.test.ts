import { randomUUID } from 'node:crypto'
import { sql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/node-postgres'
import { drizzle as pglite } from 'drizzle-orm/pglite'
import { drizzle as drizzleV1 } from 'drizzle-orm-v1/node-postgres'
import type pg from 'pg'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { createLru } from '../../src/cache/lru.ts'
import { currentDatabase, getTenant, runInContext, TenancyContext } from '../../src/context.ts'
import type { DatabaseServer } from '../../src/contracts/dialect.ts'
import type { Tenant } from '../../src/contracts/tenant.ts'
import { findTenancyError } from '../../src/errors.ts'
import { namespaceStrategy } from '../../src/isolation/namespace.ts'
import {
  createTenantDatabases,
  type DrizzleFactory,
  type TenantDatabases,
} from '../../src/isolation/tenant-databases.ts'
import { createRevocations, type Revocations } from '../../src/tenants/revocations.ts'
import type { TestDatabase } from '../servers/database.ts'
import { describeWith } from '../servers/suite.ts'
import { baselineDatabase, testServer } from '../support/database.ts'

const strategy = namespaceStrategy('schema')

/** What both versions of Drizzle have in common here; each test runs with both. */
interface Db {
  execute(query: ReturnType<typeof sql>): Promise<{ rows: Record<string, unknown>[] }>
  transaction<T>(work: (tx: Db) => Promise<T>): Promise<T>
}

const versions: { version: string; make: (options: object) => object; positional: (client: object) => object }[] = [
  {
    version: '0.45',
    make: (options) => drizzle(options as { client: pg.Pool }),
    positional: (client) => drizzle(client as pg.Pool),
  },
  {
    version: '1.0',
    make: (options) => drizzleV1(options as { client: pg.Pool }),
    positional: (client) => drizzleV1(client as { client: pg.Pool }),
  },
]

const failureOf = async (work: () => unknown): Promise<{ code: string; message: string } | undefined> => {
  try {
    await work()
    return undefined
  } catch (error) {
    const { code, message } = findTenancyError(error) ?? { code: 'OTHER', message: String(error) }
    return { code, message }
  }
}
const codeOf = async (work: () => unknown) => (await failureOf(work))?.code

describeWith(['postgres15'], 'tenant databases', ({ postgres15 }) => {
  let database: TestDatabase
  let server: DatabaseServer
  let a: Tenant
  let b: Tenant

  async function provision(identifier: string): Promise<Tenant> {
    const id = randomUUID()
    const placement = strategy.place({ id, identifier: 'tenant', metadata: {} })
    await server.inNamespace(strategy.scope({ id, placement }), async (session) => {
      await session.ensure()
      await session.run('create table items (owner text not null)')
      await session.run(`insert into items values ('${identifier}')`)
    })
    const now = new Date().toISOString()
    return Object.freeze({
      id,
      identifier,
      name: identifier,
      status: 'active',
      placement,
      metadata: {},
      version: 1,
      createdAt: now,
      updatedAt: now,
    })
  }

  beforeAll(async () => {
    database = await baselineDatabase(postgres15.url)
    server = testServer(database, { poolSize: 4 })
    expect(await server.open()).toEqual([])
    a = await provision('a')
    b = await provision('b')
  })
  afterAll(async () => {
    await server?.close()
    await database?.drop()
  })

  describe.each(versions)('with drizzle-orm $version', ({ version, make, positional }) => {
    let revoked: Revocations
    let calls: { client: object; tenant: Tenant | null }[]
    let databases: TenantDatabases

    const withFactory = (factory: DrizzleFactory, max = 10) =>
      createTenantDatabases({ server, strategy, factory, handles: createLru<object>({ max }), revoked })
    const of = (tenant: Tenant) => databases.of(tenant) as Db
    const owner = async (db: Db) => (await db.execute(sql`select owner from items`)).rows[0]?.['owner']
    const backend = async (db: Db) => (await db.execute(sql`select pg_backend_pid() as pid`)).rows[0]?.['pid']
    /** The context of a request of this tenant. */
    const as = <T>(tenant: Tenant, work: () => Promise<T>): Promise<T> =>
      runInContext(
        new TenancyContext({ databaseOf: databases.of, run: () => Promise.reject(new Error('not used')) }, tenant),
        work,
      )
    const here = () => currentDatabase() as Db

    beforeEach(() => {
      revoked = createRevocations()
      calls = []
      databases = withFactory((client, { tenant }) => {
        calls.push({ client, tenant })
        return make({ client })
      })
    })

    describe('refuses a factory', () => {
      const refusal = (factory: DrizzleFactory, tenants = [a]) =>
        failureOf(() => tenants.map((tenant) => withFactory(factory).of(tenant)))
      const unsafe = (message: RegExp) => ({
        code: 'TENANCY_ERR_DRIZZLE_FACTORY',
        message: expect.stringMatching(message) as string,
      })

      it('whose database has another client than the one given', async () => {
        const own = make({ client: server.client(strategy.scope(b), () => {}) })
        expect(await refusal(() => own)).toEqual(
          unsafe(/does not use the `client`.*that of `drizzle-orm\/node-postgres`/),
        )
        expect(await refusal(() => make({ connection: database.appUrl }))).toEqual(unsafe(/does not use the `client`/))
        // 1.0 ignores a client that is not named, and would connect to localhost, without a scope.
        const failure = await refusal(positional)
        if (version === '1.0') expect(failure).toEqual(unsafe(/drizzle-orm 1\.0 ignores/))
        else expect(failure).toBeUndefined()
      })

      it('that returns one database for two tenants', async () => {
        const shared = make({ client: server.client(strategy.scope(a), () => {}) })
        const dishonest = (client: object) => Object.assign(shared, { $client: client })
        const together = withFactory(dishonest)
        together.of(a)
        expect(await failureOf(() => together.of(b))).toEqual(unsafe(/same database for two tenants/))
      })

      it('that sets a query cache, which does not know tenants', async () => {
        const cache = { strategy: () => 'all', get: () => undefined, put: () => {}, onMutate: () => {} }
        expect(await refusal((client) => make({ client, cache }))).toEqual(unsafe(/query cache does not know tenants/))
      })

      it('that returns something else than a database', async () => {
        for (const nothing of [undefined, null, 'database', 7]) {
          expect(await refusal(() => nothing as unknown as object)).toEqual(unsafe(/must return a Drizzle database/))
        }
        expect(await refusal((client) => ({ $client: client }))).toEqual(unsafe(/no `transaction\(\)`/))
      })

      it('that throws, with its own error, and asks again next time', async () => {
        let broken = true
        const sometimes = withFactory((client) => {
          if (broken) throw new TypeError('broken')
          return make({ client })
        })
        expect(() => sometimes.of(a)).toThrow(new TypeError('broken'))
        broken = false
        expect(await owner(sometimes.of(a) as Db)).toBe('a')
      })

      it('whose database speaks to its client as another driver does', async () => {
        const other = (client: object) => pglite({ client: client as never })
        const message = /for another driver \(PgliteSession\)\. Here `drizzle` is that of `drizzle-orm\/node-postgres`/
        expect(await refusal(other)).toEqual(unsafe(message))
        const session = Object.create({ constructor: { [Symbol.for('drizzle:entityKind')]: 'OwnSession' } }) as object
        const withSession = (client: object) => ({ $client: client, session, transaction: () => {} })
        expect(await refusal(withSession)).toEqual(unsafe(/for another driver \(OwnSession\)/))
      })

      it('and what another driver would call back is not called', async () => {
        // Unchecked, as a database of that driver would: options where a callback is expected.
        const client = server.client(strategy.scope(a), () => {}) as unknown as pg.Pool
        const asPglite = (text: string) =>
          client.query(text, [], {} as never) as unknown as Promise<{ rows: unknown[] }>
        expect((await asPglite('select owner from items')).rows).toEqual([{ owner: 'a' }])
        await expect(asPglite('select nonsense')).rejects.toMatchObject({ code: '42703' })
      })

      it('for the admin connection and for a request transaction too', async () => {
        const bad = withFactory(() => make({ client: server.client(strategy.scope(a), () => {}) }))
        expect(await codeOf(() => bad.admin())).toBe('TENANCY_ERR_DRIZZLE_FACTORY')
        expect(await codeOf(() => bad.transactionOf(a))).toBe('TENANCY_ERR_DRIZZLE_FACTORY')
      })
    })

    it('tells the factory whose database it makes, and nobody for the admin connection', () => {
      databases.of(a)
      databases.of(b)
      databases.admin()
      databases.admin()
      expect(calls.map((call) => call.tenant)).toEqual([a, b, null])
      expect(new Set(calls.map((call) => call.client)).size).toBe(3)
    })

    it('gives each tenant its own rows, and the same object while it is held', async () => {
      const first = databases.of(a)
      expect(databases.of(a)).toBe(first)
      expect(databases.of({ ...a })).toBe(first)
      expect(databases.of(b)).not.toBe(first)
      expect(await Promise.all([owner(of(a)), owner(of(b))])).toEqual(['a', 'b'])

      const small = withFactory((client) => make({ client }), 1)
      const old = small.of(a)
      small.of(b)
      expect(small.of(a)).not.toBe(old)
      expect(await owner(old as Db)).toBe('a')
    })

    it('stops a kept database, transaction and request transaction when its tenant is revoked', async () => {
      const kept = of(a)
      const request = databases.transactionOf(a)
      expect(await owner(request.database as Db)).toBe('a')
      const underWay = kept.transaction(async (tx) => {
        await tx.execute(sql`insert into items values ('gone')`)
        revoked.revoke(a.id)
        expect(await codeOf(() => owner(tx))).toBe('TENANCY_ERR_TENANT_REVOKED')
      })
      expect(await codeOf(() => underWay)).toBe('TENANCY_ERR_TENANT_REVOKED')
      expect(await codeOf(() => owner(kept))).toBe('TENANCY_ERR_TENANT_REVOKED')
      expect(await codeOf(() => kept.transaction(async () => {}))).toBe('TENANCY_ERR_TENANT_REVOKED')
      expect(await codeOf(() => owner(request.database as Db))).toBe('TENANCY_ERR_TENANT_REVOKED')
      await request.rollback()
      expect(await owner(of(b))).toBe('b')
      revoked.learn(a)
      expect((await kept.execute(sql`select owner from items`)).rows).toEqual([{ owner: 'a' }])
    })

    it('refuses a kept database in the context of another tenant', async () => {
      const kept = of(a)
      await as(b, async () => {
        expect(await codeOf(() => owner(kept))).toBe('TENANCY_ERR_TENANT_MISMATCH')
        expect(await codeOf(() => kept.transaction(async () => {}))).toBe('TENANCY_ERR_TENANT_MISMATCH')
        expect(await codeOf(() => owner(databases.transactionOf(a).database as Db))).toBe('TENANCY_ERR_TENANT_MISMATCH')
        expect(await owner(here())).toBe('b')
      })
      expect(await as(a, () => owner(kept))).toBe('a')
    })

    it('makes getTenantDb() in a transaction’s callback that transaction, at every depth, and gives it back after', async () => {
      const planned = new Error('planned')
      const undone = (db: Db, work: (tx: Db) => Promise<void>) =>
        expect(
          db.transaction(async (tx) => {
            await work(tx)
            throw planned
          }),
        ).rejects.toBe(planned)
      const count = async () => (await here().execute(sql`select owner from items`)).rows.length
      await as(a, async () => {
        const outside = here()
        await undone(outside, async (tx) => {
          const pid = await backend(tx)
          expect(here()).toBe(tx)
          await here().execute(sql`insert into items values ('in')`)
          await undone(here(), async (nested) => {
            expect(here()).toBe(nested)
            await here().execute(sql`insert into items values ('nested')`)
            await undone(here(), async (deepest) => {
              expect(here()).toBe(deepest)
              await here().execute(sql`insert into items values ('deepest')`)
              expect([await backend(here()), await count()]).toEqual([pid, 4])
            })
            expect(here()).toBe(nested)
            expect(await count()).toBe(3)
          })
          expect(await count()).toBe(2)
          expect(getTenant()).toBe(a)
        })
        expect(here()).toBe(outside)
        expect(await count()).toBe(1)
      })
    })

    it('[rls-20] gives another tenant inside a transaction or savepoint its own connection, and leaves its context alone', async () => {
      await as(a, async () => {
        await here().transaction(async (tx) => {
          const pid = await backend(tx)
          await as(b, async () => {
            expect(here()).toBe(databases.of(b))
            expect(await backend(here())).not.toBe(pid)
            expect(await owner(here())).toBe('b')
            await here().transaction(async () => expect(await owner(here())).toBe('b'))
            expect(getTenant()).toBe(b)
          })
          expect(await backend(here())).toBe(pid)
          expect(await owner(here())).toBe('a')
          await tx.transaction(async () => {
            await as(b, async () =>
              expect([(await backend(here())) === pid, await owner(here())]).toEqual([false, 'b']),
            )
            expect([await backend(here()), await owner(here())]).toEqual([pid, 'a'])
          })
          expect(await owner(here())).toBe('a')
        })
      })
    })

    it('runs a transaction of a database outside of any context, and makes no context of it', async () => {
      await of(a).transaction(async (tx) => {
        expect(await owner(tx)).toBe('a')
        expect(await codeOf(() => currentDatabase())).toBe('TENANCY_ERR_NO_TENANT')
      })
    })

    it('keeps concurrent transactions of one tenant apart', async () => {
      await as(a, async () => {
        const pids = await Promise.all(
          [1, 2].map(() =>
            here().transaction(async (tx) => {
              const pid = await backend(tx)
              await new Promise((resolve) => setTimeout(resolve, 50))
              expect(await backend(here())).toBe(pid)
              return pid
            }),
          ),
        )
        expect(new Set(pids).size).toBe(2)
      })
    })

    it('runs the statements of a request in one transaction, nested ones included', async () => {
      const request = databases.transactionOf(a)
      const db = request.database as Db
      const pid = await backend(db)
      await db.execute(sql`insert into items values ('request')`)
      await db.transaction(async (tx) => expect(await backend(tx)).toBe(pid))
      await request.rollback()
      expect((await of(a).execute(sql`select owner from items`)).rows).toHaveLength(1)

      const kept = databases.transactionOf(a)
      await (kept.database as Db).execute(sql`delete from items where owner = 'nobody'`)
      await kept.commit()
      expect(await codeOf(() => owner(kept.database as Db))).toBe('TENANCY_ERR_TRANSACTION_FINISHED')
    })

    it('hands out the admin connection without a scope, once', async () => {
      const admin = databases.admin() as Db
      expect(databases.admin()).toBe(admin)
      const { rows } = await admin.execute(sql.raw(`select owner from ${a.placement.namespace}.items`))
      expect(rows).toEqual([{ owner: 'a' }])
      expect(await failureOf(() => owner(admin))).toMatchObject({ code: 'OTHER' })
    })
  })
})
