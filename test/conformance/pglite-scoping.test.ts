import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { PGlite } from '@electric-sql/pglite'
import * as orm from 'drizzle-orm'
import { eq, sql } from 'drizzle-orm'
import { drizzle as drizzlePg } from 'drizzle-orm/node-postgres'
import {
  bigint,
  boolean,
  customType,
  date,
  integer,
  interval,
  jsonb,
  numeric,
  pgTable,
  serial,
  text,
  timestamp,
  uuid,
} from 'drizzle-orm/pg-core'
import { drizzle } from 'drizzle-orm/pglite'
import Fastify from 'fastify'
import type pg from 'pg'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { currentContext, runInContext, TenancyContext } from '../../src/context.ts'
import type { DatabaseServer } from '../../src/contracts/dialect.ts'
import type { Scope } from '../../src/contracts/isolation.ts'
import type { Tenant } from '../../src/contracts/tenant.ts'
import { createPgliteServer } from '../../src/dialects/postgres/drivers/pglite-server.ts'
import { findTenancyError } from '../../src/errors.ts'
import tenancy, { getTenant, getTenantDb } from '../../src/index.ts'
import { describeWith } from '../servers/suite.ts'
import { baselineDatabase, open, provisionScope, sharedSchemas, testServer } from '../support/database.ts'

const items = pgTable('items', {
  id: serial('id').primaryKey(),
  owner: text('owner').notNull(),
  n: integer('n').notNull().default(0),
})

const ddl = (owner: string) => [
  `create table items (id serial primary key, owner text not null default '${owner}', n integer not null default 0)`,
  `insert into items (owner) values ('${owner}')`,
]

/** What the base session must be between two statements, as the session itself tells. */
const BASE = sql`select current_user::text as role, session_user::text as login, array_remove(current_schemas(false), 'pg_temp_0')::text as path,
  coalesce(current_setting('app.current_tenant', true), '') as tenant,
  has_database_privilege(current_database(), 'TEMPORARY') as temporary,
  has_schema_privilege('public', 'USAGE') as public, has_schema_privilege('tenancy', 'USAGE') as registry`

const NOTHING = {
  role: 'tenancy_app',
  login: 'tenancy_app',
  path: '{extensions}',
  tenant: '',
  temporary: false,
  public: false,
  registry: false,
}

const codeOf = async (work: () => unknown): Promise<string | undefined> => {
  try {
    await work()
    return undefined
  } catch (error) {
    return (
      findTenancyError(error)?.code ??
      (error as { cause?: { code?: string }; code?: string }).cause?.code ??
      (error as { code?: string }).code ??
      String(error)
    )
  }
}

const pgliteServer = (options: { folder?: string; poolTimeout?: number } = {}): DatabaseServer =>
  createPgliteServer({
    folder: options.folder,
    registrySchema: 'tenancy',
    shared: sharedSchemas,
    poolTimeout: options.poolTimeout ?? 60,
    onStatement: undefined,
  })

const over = (client: object) => drizzle({ client: client as PGlite })

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

describe('PGlite', () => {
  let server: DatabaseServer
  let a: Scope
  let b: Scope
  const dbOf = (scope: Scope, guard = open) => over(server.client(scope, guard))
  /** A scope that names nothing: what is seen through it is the base session. */
  const base = async () =>
    (await over(server.client({ ...a, strategy: 'prefix', settings: {} }, open)).execute(BASE)).rows[0]
  const ownersOf = async (scope: Scope) => (await dbOf(scope).select().from(items)).map((row) => row.owner)

  beforeAll(async () => {
    server = pgliteServer()
    expect(await server.open()).toEqual([expect.stringContaining('in memory: tenants and rows are gone')])
    await server.admin.query('create schema tenancy')
    await server.admin.query('create table tenancy.tenants (id text)')
    a = await provisionScope(server, ddl('a'))
    b = await provisionScope(server, ddl('b'))
    // What no reader of the statement can see.
    await server.admin.query(`create function "${a.namespace}".leaves() returns void language plpgsql as $$ begin
      perform set_config('default_transaction_read_only', 'on', false), pg_advisory_lock(1);
      execute 'prepare mine as select 1';
      execute 'listen mine';
      perform set_config('role', 'none', false), set_config('search_path', 'public', false);
    end $$`)
  })
  afterAll(() => server?.close())
  afterEach(async () => {
    expect(await ownersOf(a)).toEqual(['a'])
    expect(await ownersOf(b)).toEqual(['b'])
    expect(await base()).toEqual(NOTHING)
  })

  it('gives each tenant its own rows on the one connection', async () => {
    for (let round = 0; round < 20; round++) {
      const [rowsA, rowsB] = await Promise.all([ownersOf(a), ownersOf(b)])
      expect([rowsA, rowsB]).toEqual([['a'], ['b']])
    }
  })

  describe('under load', () => {
    const TENANTS = 50
    const WORKERS = 40
    const OPERATIONS = 3000
    const scopes: Scope[] = []

    /** Runs mixed operations of all tenants at once; returns every row that was not the caller's. */
    async function foreignRows(clientOf: (index: number) => Scope, operations: number): Promise<unknown[]> {
      const foreign: unknown[] = []
      const unexpected: unknown[] = []
      let next = 0
      const keep = (rows: { owner: string }[], scope: Scope) =>
        foreign.push(...rows.filter((row) => row.owner !== scope.tenantId))
      const operate = async (index: number, kind: number): Promise<void> => {
        const own = scopes[index] as Scope
        const db = dbOf(clientOf(index))
        if (kind === 0) {
          keep(await db.insert(items).values({ owner: own.tenantId, n: 1 }).returning(), own)
        } else if (kind === 1) {
          await db.transaction(async (tx) => {
            await tx.update(items).set({ owner: own.tenantId, n: 2 })
            throw new Error('planned')
          })
        } else if (kind === 2) {
          await db.transaction(async (tx) => {
            keep(await tx.select().from(items), own)
            await tx
              .transaction(async (inner) => {
                await inner.delete(items)
                inner.rollback()
              })
              .catch(() => {})
            keep(await tx.select().from(items), own)
          })
        } else if (kind === 3) {
          await db.execute(sql`select 1/0`)
        } else if (kind === 4) {
          await db.execute(sql.raw('reset role'))
        } else if (kind === 5) {
          await db.execute(sql.raw(`select set_config('search_path', 'public', false)`))
        } else if (kind === 6) {
          const lazy = server.lazyTransaction(clientOf(index), open)
          keep(await over(lazy.client).select().from(items), own)
          await (index % 2 ? lazy.commit() : lazy.rollback())
        } else {
          keep(await db.select().from(items), own)
        }
      }
      const worker = async () => {
        while (next < operations) {
          const turn = next++
          await operate((turn * 7) % TENANTS, turn % 9).catch((error: Error) => {
            if (!/planned|division by zero/.test(`${error.message} ${(error.cause as Error | undefined)?.message}`))
              unexpected.push(error)
          })
        }
      }
      await Promise.all(Array.from({ length: WORKERS }, worker))
      expect(unexpected).toEqual([])
      return foreign
    }

    beforeAll(async () => {
      for (let i = 0; i < TENANTS; i++) {
        const scope = await provisionScope(server, ddl('x').slice(0, 1))
        await dbOf(scope).insert(items).values({ owner: scope.tenantId })
        scopes.push(scope)
      }
    })

    it('[W1] hands nobody a foreign row in thousands of interleaved operations with throws and rollbacks', async () => {
      expect(await foreignRows((index) => scopes[index] as Scope, OPERATIONS)).toEqual([])
      for (const scope of scopes) {
        const owners = new Set((await dbOf(scope).select().from(items)).map((row) => row.owner))
        expect([...owners]).toEqual([scope.tenantId])
      }
    }, 120_000)

    it('would see a foreign row (negative control: every tenth tenant gets its neighbour’s path)', async () => {
      const broken = (index: number) => ({
        ...(scopes[index] as Scope),
        namespace: (scopes[index % 10 === 0 ? (index + 1) % TENANTS : index] as Scope).namespace,
      })
      expect((await foreignRows(broken, 450)).length).toBeGreaterThan(0)
    }, 60_000)
  })

  it('serves as the app role, which by itself reaches nothing', async () => {
    const [row] = (
      await dbOf(a).execute(sql`select current_user::text as role, current_setting('app.current_tenant') as tenant,
        current_schema()::text as schema`)
    ).rows
    expect(row).toEqual({ role: 'tenancy_app', tenant: a.tenantId, schema: a.namespace })
    expect(await codeOf(() => dbOf(a).execute(sql`select * from tenancy.tenants`))).toBe('42501')
    expect(await codeOf(() => dbOf(a).execute(sql`create table public.x (i int)`))).toBe('42501')
    expect(await codeOf(() => dbOf(a).execute(sql`create table extensions.x (i int)`))).toBe('42501')
    expect(await codeOf(() => dbOf(a).execute(sql`create table x (i int)`))).toBe('42501')
    expect(await codeOf(() => dbOf(a).execute(sql`select * from __drizzle_migrations`))).toBe('42501')
  })

  it('[W1] never falls through to another schema: a missing table is an error', async () => {
    await server.admin.query('create table public.shared (id int)')
    expect(await codeOf(() => dbOf(a).execute(sql`select * from shared`))).toBe('42P01')
    await server.admin.query('drop table public.shared')
  })

  it('cannot be shadowed by a temporary table', async () => {
    expect(await codeOf(() => dbOf(a).execute(sql`create temporary table items (owner text)`))).toBe('42501')
    await server.admin.query(
      `create temporary table only_temporary (owner text); grant all on only_temporary to public`,
    )
    expect(await codeOf(() => dbOf(a).execute(sql`select * from only_temporary`))).toBe('42P01')
  })

  it('refuses transaction control, several statements and COPY', async () => {
    for (const raw of [
      'begin',
      'commit',
      '; start transaction',
      '/**/ ROLLBACK -- x',
      'commit and chain',
      'end',
      'abort',
    ]) {
      expect(await codeOf(() => dbOf(a).execute(sql.raw(raw))), raw).toBe('TENANCY_ERR_STATEMENT_REFUSED')
      const code = await codeOf(() => dbOf(a).transaction(async (tx) => tx.execute(sql.raw(raw))))
      expect(code, raw).toBe('TENANCY_ERR_STATEMENT_REFUSED')
    }
    const client = server.client(a, open) as PGlite
    expect(await codeOf(() => client.exec('select 1; select 2'))).toBe('TENANCY_ERR_STATEMENT_REFUSED')
    expect(await codeOf(() => dbOf(a).execute(sql.raw('select 1; select 2')))).toBe('42601')
    // PGlite would wait for the rest of COPY for ever, and with it the process.
    expect(await codeOf(() => dbOf(a).execute(sql.raw('copy items from stdin')))).toBe('TENANCY_ERR_STATEMENT_REFUSED')
  })

  it('keeps CALL and DO that commit inside the scope', async () => {
    await server.admin.query(
      `create or replace procedure extensions.leaving() language plpgsql as $$ begin commit; insert into items (owner) values ('escaped'); end $$`,
    )
    for (const raw of [
      'call leaving()',
      '; /* x */ call leaving()',
      'do $$ begin commit; end $$',
      'DO $$ begin rollback; end $$',
    ]) {
      expect(await codeOf(() => dbOf(a).execute(sql.raw(raw))), raw).toBe('2D000')
    }
    await dbOf(a).execute(sql.raw(`do $$ begin insert into items (owner, n) values ('done', 1); end $$`))
    expect(await dbOf(a).$count(items, eq(items.owner, 'done'))).toBe(1)
    await dbOf(a).delete(items).where(eq(items.owner, 'done'))
  })

  it('guards, but does not wall: who may run any SQL can name another schema or, inside that transaction, become the superuser', async () => {
    expect((await dbOf(a).execute(sql.raw(`select owner from ${b.namespace}.items`))).rows).toEqual([{ owner: 'b' }])
    await dbOf(a).transaction(async (tx) => {
      await tx.execute(sql.raw(`select set_config('session_authorization', 'postgres', false)`))
      expect((await tx.execute(sql`select current_user::text as role`)).rows).toEqual([{ role: 'postgres' }])
    })
  })

  it.each([
    'reset role',
    'set role none',
    'set session role none',
    'reset session authorization',
    'reset all',
    'set search_path to public',
    "set app.current_tenant to 'somebody'",
    "set my.note to 'of a'",
    'set row_security to off',
    "set timezone to 'Asia/Tokyo'",
    'set default_transaction_read_only to on',
    'set bytea_output to escape',
    'set client_encoding to latin1',
    "select set_config('client_encoding', 'LATIN1', false)",
    "select set_config('standard_conforming_strings', 'off', false)",
    "select set_config('role', 'none', false)",
    "select set_config('search_path', 'public', false)",
    "select set_config('session_authorization', 'postgres', false)",
    "do $$ begin perform set_config('search_path', 'public', false); end $$",
    'prepare mine as select * from items',
    "do $$ begin execute 'declare mine cursor with hold for select * from items'; end $$",
    'listen mine',
    "select nextval('items_id_seq')",
    'select pg_advisory_lock(1)',
    'select leaves()',
  ])('restores the session that a statement changed: %s', async (raw) => {
    const settings = sql`select string_agg(name || '=' || coalesce(setting, ''), e'\n' order by name) as all from pg_settings
      where name not in ('transaction_isolation', 'transaction_read_only', 'transaction_deferrable')`
    const state = async () => [
      (await dbOf(b).execute(settings)).rows,
      (
        await dbOf(b).execute(sql`select current_user::text as role, current_setting('my.note', true) as note,
        (select count(*)::int from pg_prepared_statements where name <> '') as prepared,
        (select count(*)::int from pg_cursors where name <> '') as cursors,
        (select count(*)::int from pg_locks where locktype = 'advisory') as locks,
        (select count(*)::int from pg_listening_channels()) as listening`)
      ).rows.map((row) => ({ ...row, note: row['note'] || null })),
    ]
    // Tenants may not see it.
    await server.admin.query('grant execute on function pg_catalog.pg_prepared_statement() to public')
    const before = await state()
    for (const run of [
      () => dbOf(a).execute(sql.raw(raw)),
      () => dbOf(a).transaction(async (tx) => tx.execute(sql.raw(raw))),
    ]) {
      await run()
      expect(await state()).toEqual(before)
      expect(await base()).toEqual(NOTHING)
      expect(await codeOf(() => dbOf(b).execute(sql`select lastval()`))).toBe('55000')
      expect(await codeOf(() => dbOf(b).execute(sql`fetch all from mine`))).toBe('34000')
      await dbOf(b).insert(items).values({ owner: 'b', n: 9 })
      await dbOf(b).delete(items).where(eq(items.n, 9))
    }
  })

  it('stays the app role in its own transaction after RESET ROLE and SET ROLE NONE', async () => {
    await dbOf(a).transaction(async (tx) => {
      for (const raw of [
        'reset role',
        'set role none',
        'reset session authorization',
        'set local role none',
        'reset all',
      ]) {
        await tx.execute(sql.raw(raw))
        expect((await tx.execute(sql`select current_user::text as role`)).rows, raw).toEqual([{ role: 'tenancy_app' }])
      }
    })
    expect(await codeOf(() => dbOf(a).execute(sql.raw('set role postgres')))).toBe('42501')
    expect(await codeOf(() => dbOf(a).execute(sql.raw('discard all')))).toBe('25001')
    for (const raw of [
      'set session authorization postgres',
      'SET LOCAL SESSION /**/ AUTHORIZATION default',
      'set "session_authorization" to postgres',
      'set local U&"session_authorization" = postgres',
      `set local u&"\\0073ession\\005fauthorization" = postgres`,
      `set U&"s!0065ssion_authorization" uescape '!' = postgres`,
    ]) {
      expect(await codeOf(() => dbOf(a).execute(sql.raw(raw))), raw).toBe('TENANCY_ERR_STATEMENT_REFUSED')
    }
  })

  it('runs prepared statements, $count and relational queries', async () => {
    const prepared = dbOf(a)
      .select()
      .from(items)
      .where(eq(items.owner, sql.placeholder('owner')))
      .prepare('by_owner')
    expect(await prepared.execute({ owner: 'a' })).toHaveLength(1)
    expect(await prepared.execute({ owner: 'b' })).toHaveLength(0)
    expect(await dbOf(b).$count(items)).toBe(1)
    for (const [scope, owner] of [
      [a, 'a'],
      [b, 'b'],
    ] as const) {
      // `schema` is 0.45's way, `relations` 1.0's.
      const defineRelations: unknown = Reflect.get(orm, 'defineRelations')
      const tables =
        typeof defineRelations === 'function'
          ? { relations: defineRelations({ items }) as object }
          : { schema: { items } }
      const db = drizzle({
        client: server.client(scope, open) as PGlite,
        ...(tables as { schema: { items: typeof items } }),
      })
      expect((await db.query.items.findMany()).map((row) => row.owner)).toEqual([owner])
      expect(await db.transaction(async (tx) => tx.query.items.findFirst())).toMatchObject({ owner })
    }
  })

  it('commits, rolls back and nests transactions, with isolation levels', async () => {
    const db = dbOf(a)
    await db.transaction(
      async (tx) => {
        await tx.insert(items).values({ owner: 'tx', n: 1 })
        await tx.transaction(async (inner) => inner.insert(items).values({ owner: 'tx', n: 2 }))
        await tx
          .transaction(async (inner) => {
            await inner.insert(items).values({ owner: 'tx', n: 3 })
            inner.rollback()
          })
          .catch(() => {})
        const [level] = (await tx.execute(sql`show transaction_isolation`)).rows
        expect(level).toEqual({ transaction_isolation: 'serializable' })
      },
      { isolationLevel: 'serializable', accessMode: 'read write' },
    )
    expect(await db.$count(items, eq(items.owner, 'tx'))).toBe(2)
    await expect(
      db.transaction(async (tx) => {
        await tx.delete(items)
        throw new Error('no')
      }),
    ).rejects.toThrow('no')
    expect(await db.$count(items)).toBe(3)
    await db.delete(items).where(eq(items.owner, 'tx'))
  })

  it('joins the open transaction of the same tenant, also nested, and all of it or nothing lands', async () => {
    const outer = dbOf(a)
    const all = outer.transaction(async (tx) => {
      await tx.insert(items).values({ owner: 'joined', n: 1 })
      expect(await outer.$count(items, eq(items.owner, 'joined'))).toBe(1)
      expect(await dbOf(a).$count(items, eq(items.owner, 'joined'))).toBe(1)
      const inner = outer.transaction(async (nested) => {
        await nested.insert(items).values({ owner: 'joined', n: 2 })
        throw new Error('inner')
      })
      await expect(inner).rejects.toThrow('inner')
      await dbOf(a).transaction(async (nested) => nested.insert(items).values({ owner: 'joined', n: 3 }))
      expect((await tx.select().from(items).where(eq(items.owner, 'joined'))).map((row) => row.n)).toEqual([1, 3])
      throw new Error('outer')
    })
    await expect(all).rejects.toThrow('outer')
    expect(await outer.$count(items)).toBe(1)
  })

  it('refuses another tenant and the admin connection inside a transaction at once', async () => {
    const started = performance.now()
    await dbOf(a).transaction(async (tx) => {
      for (const work of [
        () => dbOf(b).select().from(items),
        () => dbOf(b).transaction(async () => {}),
        () => over(server.lazyTransaction(b, open).client).select().from(items),
        () => server.admin.query('select 1'),
        () => server.admin.transaction(async (query) => query('select 1')),
        () => over(server.admin.client).execute(sql`select 1`),
        () => provisionScope(server, []),
        () => server.ping(),
      ]) {
        expect(await codeOf(work)).toBe('TENANCY_ERR_TRANSACTION_BUSY')
      }
      expect(await tx.$count(items)).toBe(1)
    })
    await server.admin.transaction(async () => {
      expect(await codeOf(() => dbOf(a).select().from(items))).toBe('TENANCY_ERR_TRANSACTION_BUSY')
    })
    expect(performance.now() - started).toBeLessThan(5000)
  })

  it('joins admin work inside admin work, and undoes a nested part that throws', async () => {
    await server.admin.transaction(async (query) => {
      await query('create table tenancy.notes (n int)')
      await server.admin.query('insert into tenancy.notes values (1)')
      await server.admin
        .transaction(async (inner) => {
          await inner('insert into tenancy.notes values (2)')
          throw new Error('inner')
        })
        .catch(() => {})
      expect(await query('select n from tenancy.notes')).toEqual([{ n: 1 }])
    })
    await over(server.admin.client).transaction(async (tx) => tx.execute(sql`drop table tenancy.notes`))
    expect(await server.admin.query('select current_user::text as role')).toEqual([{ role: 'postgres' }])
  })

  it('refuses statements on a finished transaction instead of running them on their own', async () => {
    const kept: { execute(query: ReturnType<typeof sql>): unknown }[] = []
    const insert = sql`insert into items (owner) values ('late')`
    await dbOf(a).transaction(async (tx) => {
      kept.push(tx)
      await dbOf(a).transaction(async (inner) => kept.push(inner))
      expect(await codeOf(() => kept[1]?.execute(insert))).toBe('TENANCY_ERR_TRANSACTION_FINISHED')
    })
    await dbOf(a)
      .transaction(async (tx) => (kept.push(tx), tx.rollback()))
      .catch(() => {})
    await over(server.admin.client).transaction(async (tx) => kept.push(tx))
    for (const tx of kept) expect(await codeOf(() => tx.execute(insert))).toBe('TENANCY_ERR_TRANSACTION_FINISHED')
  })

  it('runs what a transaction left to run afterwards on its own', async () => {
    let later: Promise<string[]> | undefined
    await dbOf(a).transaction(async (tx) => {
      later = pause(50).then(() => ownersOf(b))
      await tx.select().from(items)
    })
    expect(await later).toEqual(['b'])
  })

  it('tells of a commit that the server turned into a rollback', async () => {
    const lose = async (tx: { execute(query: ReturnType<typeof sql>): Promise<unknown> }) => {
      await tx.execute(sql`insert into items (owner) values ('lost')`)
      await tx.execute(sql`select 1/0`).catch(() => {})
    }
    expect(await codeOf(() => dbOf(a).transaction(lose))).toBe('TENANCY_ERR_TRANSACTION_ROLLED_BACK')
    const lazy = server.lazyTransaction(a, open)
    await lose(over(lazy.client))
    expect(await codeOf(lazy.commit)).toBe('TENANCY_ERR_TRANSACTION_ROLLED_BACK')
  })

  it('tells of it when the statement that failed was still under way', async () => {
    const lose = async (tx: { execute(query: ReturnType<typeof sql>): Promise<unknown> }) => {
      await tx.execute(sql`insert into items (owner) values ('lost')`)
      tx.execute(sql`select 1/0`).catch(() => {})
    }
    expect(await codeOf(() => dbOf(a).transaction(lose))).toBe('TENANCY_ERR_TRANSACTION_ROLLED_BACK')
  })

  it('runs a lazy transaction: opened at its first statement, savepoints inside, all or nothing', async () => {
    const lazy = server.lazyTransaction(a, open)
    expect(server.stats()['embedded']).toEqual({ total: 1, idle: 1, waiting: 0 })
    const db = over(lazy.client)
    await db.insert(items).values({ owner: 'lazy' })
    expect(server.stats()['embedded']).toEqual({ total: 1, idle: 0, waiting: 0 })
    const waiting = [ownersOf(b), server.admin.query('select 1 as one')] as const
    await db.transaction(async (tx) => tx.insert(items).values({ owner: 'lazy' }))
    await db
      .transaction(async (tx) => {
        await tx.insert(items).values({ owner: 'lazy' })
        tx.rollback()
      })
      .catch(() => {})
    expect(server.stats()['embedded']).toEqual({ total: 1, idle: 0, waiting: 2 })
    await lazy.commit()
    expect(await Promise.all(waiting)).toEqual([['b'], [{ one: 1 }]])
    expect(await dbOf(a).$count(items, eq(items.owner, 'lazy'))).toBe(2)
    expect(await codeOf(() => db.select().from(items))).toBe('TENANCY_ERR_TRANSACTION_FINISHED')
    expect(await codeOf(() => db.transaction(async () => {}))).toBe('TENANCY_ERR_TRANSACTION_FINISHED')
    await dbOf(a).delete(items).where(eq(items.owner, 'lazy'))

    const undone = server.lazyTransaction(a, open)
    await over(undone.client).delete(items)
    await undone.rollback()
    await undone.rollback()
    await undone.commit()
    await server.lazyTransaction(a, open).commit()
    await server.lazyTransaction(a, open).rollback()
  })

  it('rolls a lazy transaction back that was still waiting for its turn', async () => {
    const first = server.lazyTransaction(b, open)
    await over(first.client).select().from(items)
    const abandoned = server.lazyTransaction(a, open)
    const statement = codeOf(() => over(abandoned.client).delete(items))
    await pause(10)
    const rolledBack = abandoned.rollback()
    await first.commit()
    await rolledBack
    expect(await statement).toBe('TENANCY_ERR_TRANSACTION_ROLLED_BACK')
  })

  it('knows the transaction of a request in the request’s other calls: the same tenant joins, others do not hang', async () => {
    const instance = { databaseOf: () => ({}), run: () => Promise.reject(new Error('not used')) }
    const request = <T>(scope: Scope, work: () => Promise<T>) =>
      runInContext(new TenancyContext(instance, { id: scope.tenantId } as Tenant), work)
    await Promise.all([
      request(a, async () => {
        const lazy = server.lazyTransaction(a, open)
        const db = over(lazy.client)
        await db.insert(items).values({ owner: 'request' })
        expect(await dbOf(a).$count(items, eq(items.owner, 'request'))).toBe(1)
        expect(await codeOf(() => dbOf(b).select().from(items))).toBe('TENANCY_ERR_TRANSACTION_BUSY')
        expect(await codeOf(() => server.admin.query('select 1'))).toBe('TENANCY_ERR_TRANSACTION_BUSY')
        const second = server.lazyTransaction(a, open)
        expect(await codeOf(() => over(second.client).select().from(items))).toBe('TENANCY_ERR_TRANSACTION_BUSY')
        const context = currentContext() as TenancyContext
        await runInContext(context.inTransaction({}), async () =>
          expect(await codeOf(() => server.ping())).toBe('TENANCY_ERR_TRANSACTION_BUSY'),
        )
        await lazy.rollback()
        expect(await ownersOf(b)).toEqual(['b'])
      }),
      request(b, async () => expect(await ownersOf(b)).toEqual(['b'])),
    ])
  })

  it('checks the guard before every statement', async () => {
    let served = true
    const guard = () => {
      if (!served) throw Object.assign(new Error('revoked'), { code: 'REVOKED' })
    }
    const db = dbOf(a, guard)
    expect(await db.$count(items)).toBe(1)
    const lazy = server.lazyTransaction(a, guard)
    expect(
      await codeOf(() =>
        db.transaction(async (tx) => {
          await tx.insert(items).values({ owner: 'gone' })
          served = false
          await tx.select().from(items)
        }),
      ),
    ).toBe('REVOKED')
    expect(await codeOf(() => db.select().from(items))).toBe('REVOKED')
    expect(await codeOf(() => db.transaction(async () => {}))).toBe('REVOKED')
    expect(await codeOf(() => over(lazy.client).select().from(items))).toBe('REVOKED')
    served = true
    const unserved = server.lazyTransaction(a, guard)
    await over(unserved.client).insert(items).values({ owner: 'gone' })
    const unservedTransaction = async () => {
      served = true
      await db.transaction(async (tx) => {
        await tx.insert(items).values({ owner: 'gone' })
        served = false
      })
    }
    served = false
    expect(await codeOf(unserved.commit)).toBe('REVOKED')
    expect(await codeOf(unservedTransaction)).toBe('REVOKED')
    served = true
    const queued = dbOf(b).transaction(async () => {
      await pause(30)
      served = false
    })
    expect(await codeOf(() => db.select().from(items))).toBe('REVOKED')
    await queued
  })
})

describe('PGlite in a folder', () => {
  let folder: string
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'tenancy-pglite-'))
  })
  afterAll(() => rm(folder, { recursive: true, force: true }))

  it('keeps the data, gives up waiting after poolTimeout, and closes twice', async () => {
    const path = join(folder, 'deep', 'data')
    // Left by a process that is gone.
    const first = pgliteServer({ folder: path, poolTimeout: 0.2 })
    expect(first.stats()).toEqual({})
    expect(await codeOf(() => first.ping())).toBe('TENANCY_ERR_NOT_STARTED')
    expect(await Promise.all([first.open(), first.open()])).toEqual([[], []])
    const scope = await provisionScope(first, ddl('kept'))
    const other = await provisionScope(first, ddl('other'))
    const ownersOn = async (server: DatabaseServer) =>
      (await over(server.client(scope, open)).select().from(items)).map((row) => row.owner)

    const lazy = first.lazyTransaction(other, open)
    await over(lazy.client).select().from(items)
    expect(await codeOf(() => ownersOn(first))).toBe('TENANCY_ERR_POOL_TIMEOUT')
    expect(await codeOf(() => over(first.lazyTransaction(scope, open).client).select().from(items))).toBe(
      'TENANCY_ERR_POOL_TIMEOUT',
    )
    await lazy.commit()
    expect(await ownersOn(first)).toEqual(['kept'])

    expect(await codeOf(() => pgliteServer({ folder: path }).open())).toBe('TENANCY_ERR_CONFIG_INVALID')
    const under = over(first.client(scope, open)).transaction(async (tx) => {
      await pause(50)
      return tx.$count(items)
    })
    await pause(10)
    const waiting = codeOf(() => ownersOn(first))
    await Promise.all([first.close(), first.close()])
    expect(await under).toBe(1)
    expect(await waiting).toBe('TENANCY_ERR_CLOSED')
    expect(await codeOf(() => ownersOn(first))).toBe('TENANCY_ERR_CLOSED')
    expect(await codeOf(() => first.open())).toBe('TENANCY_ERR_CLOSED')
    await pgliteServer().close()

    await writeFile(`${path}.lock`, '999999999')
    const second = pgliteServer({ folder: path })
    expect(await second.open()).toEqual([])
    expect(await ownersOn(second)).toEqual(['kept'])
    await second.close()
    await writeFile(`${path}.lock`, '1')
    expect(await codeOf(() => pgliteServer({ folder: path }).open())).toBe('TENANCY_ERR_CONFIG_INVALID')
  }, 60_000)
})

describe('PGlite behind the plugin', () => {
  const database = () => getTenantDb() as ReturnType<typeof over>

  it('answers calls from inside a tenant’s transaction with a code, at once, and serves on', async () => {
    const app = Fastify()
    await app.register(tenancy, { databaseUrl: 'pglite:memory', databasePoolTimeout: 20 })
    const busy: (string | undefined)[] = []
    const others = async () => {
      busy.push(await codeOf(() => app.tenancy.get('stranger')))
      busy.push(await codeOf(() => app.tenancy.register({ identifier: 'third', name: 'Third' })))
      busy.push(await codeOf(() => app.tenancy.suspend('globex')))
      busy.push(await codeOf(() => app.tenancy.run('globex', () => database().execute(sql`select 1`))))
    }
    app.get('/callback', async () =>
      database().transaction(async () => {
        await others()
        return (await database().execute(sql`select current_schema() as id`)).rows
      }),
    )
    app.get('/route', { config: { tenancy: { transaction: true } } }, async (request) => {
      await database().execute(sql`select 1`)
      busy.push(await codeOf(() => app.tenancy.get('stranger')))
      const again = app.tenancy.run(request.tenant?.id === undefined ? '' : request.tenant, getTenant)
      return [(await again).identifier]
    })
    try {
      for (const identifier of ['acme', 'globex']) await app.tenancy.register({ identifier, name: identifier })
      const started = performance.now()
      const ask = (url: string, tenant: string) => app.inject({ url, headers: { 'x-tenant-id': tenant } })
      const replies = await Promise.all([ask('/callback', 'acme'), ask('/route', 'globex'), ask('/route', 'acme')])
      expect(replies.map((reply) => reply.statusCode)).toEqual([200, 200, 200])
      expect(replies[1]?.json()).toEqual(['globex'])
      expect(busy.length).toBe(6)
      expect(new Set(busy)).toEqual(new Set(['TENANCY_ERR_TRANSACTION_BUSY']))
      expect(performance.now() - started).toBeLessThan(10_000)
      expect(await app.tenancy.health()).toMatchObject({ ok: true })
    } finally {
      await app.close()
    }
  }, 60_000)
})

describeWith(['postgres18'], 'types through PGlite and through node-postgres', ({ postgres18 }) => {
  const bytes = customType<{ data: Uint8Array }>({ dataType: () => 'bytea' })
  const kinds = pgTable('kinds', {
    id: integer('id').primaryKey(),
    at: timestamp('at', { withTimezone: true }),
    local: timestamp('local'),
    asText: timestamp('as_text', { mode: 'string' }),
    day: date('day'),
    span: interval('span'),
    amount: numeric('amount', { precision: 20, scale: 4 }),
    big: bigint('big', { mode: 'bigint' }),
    small: bigint('small', { mode: 'number' }),
    yes: boolean('yes'),
    doc: jsonb('doc'),
    key: uuid('key'),
    names: text('names').array(),
    amounts: numeric('amounts').array(),
    raw: bytes('raw'),
  })
  const statements = [
    `create table kinds (id int primary key, at timestamptz, local timestamp, as_text timestamp, day date, span interval,
      amount numeric(20,4), big bigint, small bigint, yes boolean, doc jsonb, key uuid, names text[], amounts numeric[], raw bytea)`,
  ]
  const rows = [
    {
      id: 1,
      at: new Date('2024-02-29T23:59:59.123Z'),
      local: new Date('2024-06-01T12:00:00.000Z'),
      asText: '2024-06-01 12:00:00.123456',
      day: '0099-12-31',
      span: '1 day 02:03:04',
      amount: '1234567890123456.7891',
      big: 9_223_372_036_854_775_807n,
      small: 42,
      yes: false,
      doc: { a: [1, 'zwei', null], 'quo"te': true },
      key: '7f1d6f4e-5a54-4a6f-9a43-2f1c6d3b1a00',
      names: ['a', 'b,c', 'd"e', ''],
      amounts: ['1.10', '2'],
      raw: Buffer.from([0, 1, 254, 255]),
    },
    { id: 2 },
    { id: 3, doc: 'a json string', names: [], amounts: [] },
    { id: 4, doc: [1, 2], at: new Date(0), big: -1n },
  ]
  type Db = ReturnType<typeof drizzle>
  const read = async (db: Db) => {
    await db.insert(kinds).values(rows)
    const selected = await db.select().from(kinds).orderBy(kinds.id)
    const inTransaction = await db.transaction(async (tx) => tx.select().from(kinds).orderBy(kinds.id))
    return [selected, inTransaction].map((list) =>
      list.map((row) => ({ ...row, raw: row.raw === null ? null : [...row.raw] })),
    )
  }

  it('are equal', async () => {
    const database = await baselineDatabase(postgres18.url)
    const [real, embedded] = [testServer(database), pgliteServer()]
    try {
      await Promise.all([real.open(), embedded.open()])
      const [onReal, onEmbedded] = [await provisionScope(real, statements), await provisionScope(embedded, statements)]
      const expected = await read(
        drizzlePg({ client: real.client(onReal, open) as unknown as pg.Pool }) as unknown as Db,
      )
      const actual = await read(over(embedded.client(onEmbedded, open)))
      expect(expected[0]?.[0]).toMatchObject({ ...rows[0], raw: [0, 1, 254, 255] })
      expect(actual).toEqual(expected)
    } finally {
      await embedded.close()
      await real.close()
      await database.drop()
    }
  }, 60_000)
})
