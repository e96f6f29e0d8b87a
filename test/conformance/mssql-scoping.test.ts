import { eq, sql } from 'drizzle-orm-v1'
import { int, mssqlTable, nvarchar } from 'drizzle-orm-v1/mssql-core'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { currentContext, runInContext, TenancyContext } from '../../src/context.ts'
import type { DatabaseServer, Guard } from '../../src/contracts/dialect.ts'
import type { Scope } from '../../src/contracts/isolation.ts'
import { tenancyError } from '../../src/errors.ts'
import { namespaceStrategy } from '../../src/isolation/namespace.ts'
import { rlsStrategy } from '../../src/isolation/rls.ts'
import { adoptTables } from '../../src/sql/adopt.ts'
import { codeOf } from '../attack/operation.ts'
import { open, placedScope } from '../support/database.ts'
import {
  asSuper,
  describeMssql,
  type MssqlDatabase,
  mssqlDatabase,
  mssqlServer,
  watchConnections,
} from '../support/mssql.ts'

const items = mssqlTable('items', {
  id: int('id').primaryKey(),
  owner: nvarchar('owner', { length: 100 }).notNull(),
  n: int('n').notNull().default(0),
})
const ddl =
  'CREATE TABLE [items] ([id] int, [owner] nvarchar(100) NOT NULL, [n] int NOT NULL CONSTRAINT [items_n_default] DEFAULT ((0)), CONSTRAINT [items_pkey] PRIMARY KEY([id]));'

const REFUSED = 'TENANCY_ERR_STATEMENT_REFUSED'
const FINISHED = 'TENANCY_ERR_TRANSACTION_FINISHED'
const UNAVAILABLE = 'TENANCY_ERR_DATABASE_UNAVAILABLE'

interface Rows {
  readonly recordset: readonly Record<string, unknown>[]
}
interface RawRequest {
  stream: boolean
  input(name: unknown, ...typeAndValue: unknown[]): RawRequest
  query(text: string): Promise<Rows>
  toReadableStream(): AsyncIterable<Record<string, unknown>>
  cancel(): void
}
interface RawTransaction {
  begin(level?: number): Promise<void>
  commit(): Promise<void>
  rollback(): Promise<void>
  request(): RawRequest
}
interface RawPool {
  request(): RawRequest
  transaction(): RawTransaction
  close(): Promise<void>
}
/** What is used of a Drizzle database. */
interface Db {
  select(): { from(table: typeof items): Promise<{ id: number; owner: string; n: number }[]> }
  insert(table: typeof items): { values(row: object): Promise<unknown> }
  delete(table: typeof items): Promise<unknown>
  update(table: typeof items): { set(row: object): { where(condition: unknown): Promise<unknown> } & Promise<unknown> }
  execute(query: unknown): Promise<Rows>
  transaction<T>(work: (tx: Db) => Promise<T>, options?: object): Promise<T>
}

const failureOf = async (work: () => unknown): Promise<string | undefined> => {
  try {
    await work()
    return undefined
  } catch (error) {
    return codeOf(error)
  }
}

describeMssql('SQL Server', (url) => {
  describe.each(['schema', 'prefix', 'database'] as const)('%s', (strategy) => {
    let database: MssqlDatabase
    let server: DatabaseServer
    /** One connection, so that whatever is left on it would be met again. */
    let single: DatabaseServer
    let a: Scope
    let b: Scope
    const poolOf = (scope: Scope, on = server, guard: Guard = open) => on.client(scope, guard) as RawPool
    const dbOf = (scope: Scope, on = server, guard: Guard = open) => on.drizzle(on.client(scope, guard)) as Db
    const owners = async (db: Pick<Db, 'select'>) => (await db.select().from(items)).map(({ owner }) => owner)
    const spid = async (on = single) =>
      (await poolOf(a, on).request().query('select @@spid as id')).recordset[0]?.['id'] as number

    beforeAll(async () => {
      adoptTables({ items })
      database = await mssqlDatabase(url)
      server = mssqlServer(database, { poolSize: 3 })
      single = mssqlServer(database, { poolSize: 1 })
      expect(await server.open()).toEqual([])
      await single.open()
      ;[a, b] = [placedScope(namespaceStrategy(strategy)), placedScope(namespaceStrategy(strategy))]
      for (const scope of [a, b]) {
        await server.inNamespace(scope, async (session) => {
          await session.ensure()
          await session.run(server.parseDdl(ddl).render(scope))
          await session.seal()
        })
      }
    })
    afterAll(async () => {
      await server?.close()
      await single?.close()
      await database?.drop(strategy === 'database' ? [a.namespace, b.namespace] : [])
    })
    beforeEach(async () => {
      for (const [scope, owner] of [
        [a, 'a'],
        [b, 'b'],
      ] as const) {
        const db = dbOf(scope)
        await db.delete(items)
        await db.insert(items).values({ id: 1, owner })
      }
      expect(single.stats()['serving']?.waiting).toBe(0)
    })

    it('hands out objects through which nothing of the real pool can be reached', async () => {
      const pool = poolOf(a)
      expect(Object.isFrozen(pool)).toBe(true)
      expect(Object.keys(pool).sort()).toEqual(['close', 'connected', 'request', 'transaction'])
      const transaction = pool.transaction()
      expect(Object.isFrozen(transaction)).toBe(true)
      expect(Object.keys(transaction).sort()).toEqual(['begin', 'commit', 'request', 'rollback'])
      expect(Object.keys(pool.request()).sort()).toEqual(
        ['arrayRowMode', 'cancel', 'input', 'query', 'stream', 'toReadableStream'].sort(),
      )
      expect(await failureOf(() => pool.close())).toBe(REFUSED)
      expect(await owners(dbOf(a))).toEqual(['a'])
    })

    it('an unqualified name is nobody’s, and a token that stands for nothing finds nothing', async () => {
      for (const text of [
        'select * from items',
        'select * from [items]',
        'select * from dbo.items',
        'select * from [__tenant__].items',
      ]) {
        await expect(poolOf(a).request().query(text)).rejects.toThrow()
      }
    })

    it.each([
      'exec sp_who',
      "exec sp_set_session_context N'app.current_tenant', N'x'",
      'use master',
      'set nocount on',
      'begin transaction',
      'commit',
      'rollback',
      'select 1 commit',
      'create table x (y int)',
      'select * into #t from sys.objects',
      'select @@identity',
      'declare @x int',
      'sp_who',
    ])('refuses %s, on the pool and in a transaction, before it is sent', async (text) => {
      expect(await failureOf(() => poolOf(a).request().query(text))).toBe(REFUSED)
      const id = await spid()
      const refusing = dbOf(a, single).transaction(async (tx) => {
        expect(await failureOf(() => tx.execute(sql.raw(text)))).toBe(REFUSED)
        return owners(tx)
      })
      expect(await refusing).toEqual(['a'])
      expect(await spid()).toBe(id)
    })

    it('savepoints outside of a transaction are refused', async () => {
      expect(await failureOf(() => poolOf(a).request().query('save transaction sp1'))).toBe(REFUSED)
    })

    it('keeps its connection after statements and errors', async () => {
      const id = await spid()
      await owners(dbOf(a, single))
      await expect(poolOf(b, single).request().query('select nonsense from nowhere')).rejects.toThrow()
      await expect(dbOf(a, single).insert(items).values({ id: 1, owner: 'twice' })).rejects.toThrow()
      expect(await owners(dbOf(b, single))).toEqual(['b'])
      expect(await spid()).toBe(id)
    })

    it('parameters arrive as they are, and nothing of them is in an error', async () => {
      const request = poolOf(a).request()
      request.input('text', `it's [x]; drop table y --`).input('number', 7).input('nothing', null)
      expect((await request.query('select @text as t, @number as n, @nothing as x')).recordset).toEqual([
        { t: `it's [x]; drop table y --`, n: 7, x: null },
      ])
      for (const name of ['a b', 'tenancy_tenant', "x' --", 7]) {
        expect(await failureOf(() => poolOf(a).request().input(name, 1))).toBe(REFUSED)
      }
      const failing = poolOf(a)
        .request()
        .input('secret', 'hunter2')
        .query('select nonsense from nowhere where x = @secret')
      const error: unknown = await failing.then(
        () => undefined,
        (reason: unknown) => reason,
      )
      expect(error).toBeInstanceOf(Error)
      expect(JSON.stringify(error, Object.getOwnPropertyNames(error))).not.toContain('hunter2')
    })

    describe('transactions', () => {
      it('commit, roll back and nest', async () => {
        const db = dbOf(a, single)
        await db.transaction(async (tx) => {
          await tx.insert(items).values({ id: 2, owner: 'kept' })
          await tx
            .transaction(async (inner) => {
              await inner.insert(items).values({ id: 3, owner: 'undone' })
              throw new Error('undo')
            })
            .catch(() => {})
          await tx.transaction((inner) => inner.insert(items).values({ id: 4, owner: 'inner' }))
        })
        expect((await owners(db)).sort()).toEqual(['a', 'inner', 'kept'])
        await db
          .transaction(async (tx) => {
            await tx.delete(items)
            throw new Error('undo')
          })
          .catch(() => {})
        expect(await owners(db)).toHaveLength(3)
        expect(await owners(dbOf(b))).toEqual(['b'])
      })

      it('of another isolation level cost their connection, whose next statement would have it too', async () => {
        const id = await spid()
        await dbOf(a, single).transaction((tx) => owners(tx), { isolationLevel: 'read committed' })
        expect(await spid()).toBe(id)
        await dbOf(a, single).transaction((tx) => owners(tx), { isolationLevel: 'read uncommitted' })
        expect(await spid()).not.toBe(id)
      })

      it('refuse everything after their end', async () => {
        const transaction = poolOf(a, single).transaction()
        expect(await failureOf(() => transaction.request().query('select 1 as x'))).toBe(FINISHED)
        await transaction.begin()
        expect(await failureOf(() => transaction.begin())).toBe(REFUSED)
        await transaction.commit()
        for (const late of [() => transaction.request().query('select 1 as x'), () => transaction.commit()]) {
          expect(await failureOf(late)).toBe(FINISHED)
        }
        expect(await failureOf(() => transaction.begin())).toBe(REFUSED)
        await transaction.rollback()
        expect(await owners(dbOf(b, single))).toEqual(['b'])
      })

      it('run their statements one after the other', async () => {
        await dbOf(a).transaction(async (tx) => {
          const both = await Promise.all([2, 3, 4].map((id) => tx.insert(items).values({ id, owner: `row ${id}` })))
          expect(both).toHaveLength(3)
        })
        expect(await owners(dbOf(a))).toHaveLength(4)
      })

      it('an ordinary error does not end one', async () => {
        await dbOf(a).transaction(async (tx) => {
          await tx.insert(items).values({ id: 2, owner: 'kept' })
          await expect(tx.insert(items).values({ id: 2, owner: 'twice' })).rejects.toThrow()
          await tx.insert(items).values({ id: 3, owner: 'after' })
        })
        expect((await owners(dbOf(a))).sort()).toEqual(['a', 'after', 'kept'])
      })

      it('a deadlock ends one: nothing of it is committed on its own afterwards, and the commit says so', async () => {
        await dbOf(a).insert(items).values({ id: 2, owner: 'second' })
        const [one, other] = [poolOf(a).transaction(), poolOf(a).transaction()]
        const change = (transaction: RawTransaction, id: number) =>
          transaction.request().input('id', id).query('update [__tenant__].[items] set [n] = [n] + 1 where [id] = @id')
        await one.begin()
        await other.begin()
        await change(one, 1)
        await change(other, 2)
        const results = await Promise.allSettled([change(one, 2), change(other, 1)])
        const [victim, survivor] = results[0]?.status === 'rejected' ? [one, other] : [other, one]
        expect(results.filter(({ status }) => status === 'rejected')).toHaveLength(1)
        expect(await failureOf(() => change(victim, 1))).toBe('TENANCY_ERR_TRANSACTION_ROLLED_BACK')
        expect(await failureOf(() => victim.commit())).toBe('TENANCY_ERR_TRANSACTION_ROLLED_BACK')
        await victim.rollback()
        await survivor.commit()
        expect((await dbOf(a).select().from(items)).map(({ n }) => n)).toEqual([1, 1])
      })
    })

    it('one transaction for a request, with nested ones as savepoints', async () => {
      const lazy = server.lazyTransaction(a, open)
      const db = server.drizzle(lazy.client) as Db
      await db.insert(items).values({ id: 2, owner: 'kept' })
      await db
        .transaction(async (tx) => {
          await tx.insert(items).values({ id: 3, owner: 'undone' })
          throw new Error('undo')
        })
        .catch(() => {})
      await db.transaction((tx) => tx.insert(items).values({ id: 4, owner: 'nested' }))
      expect(await owners(dbOf(b))).toEqual(['b'])
      await lazy.commit()
      expect((await owners(dbOf(a))).sort()).toEqual(['a', 'kept', 'nested'])
      expect(await failureOf(() => owners(db))).toBe(FINISHED)

      const undone = server.lazyTransaction(a, open)
      await (server.drizzle(undone.client) as Db).delete(items)
      await undone.rollback()
      expect(await owners(dbOf(a))).toHaveLength(3)
      const unused = server.lazyTransaction(a, open)
      await unused.commit()
      expect(await failureOf(() => owners(server.drizzle(unused.client) as Db))).toBe(FINISHED)
    })

    describe('streams', () => {
      it('give own rows, in the context of who asked, and leave the connection as it was', async () => {
        const id = await spid()
        const instance = { databaseOf: () => ({}), transactionOf: () => ({}) } as never
        const context = (tenantId: string) => new TenancyContext(instance, { id: tenantId } as never)
        for (const [scope, owner] of [
          [a, 'a'],
          [b, 'b'],
        ] as const) {
          const seen: unknown[] = []
          await runInContext(context(scope.tenantId), async () => {
            const request = poolOf(scope, single).request()
            const rows = request.toReadableStream() as unknown as NodeJS.ReadableStream
            rows.on('data', (row: { owner: string }) => seen.push(row.owner, currentContext()?.tenant?.id))
            const ended = new Promise((resolve, reject) => rows.on('end', resolve).on('error', reject))
            void request.query('select * from [__tenant__].[items]')
            await ended
          })
          expect(seen).toEqual([owner, scope.tenantId])
        }
        expect(await spid()).toBe(id)
      })

      it('tell errors and refusals, and hang nobody when they are left early', async () => {
        const read = async (text: string) => {
          const request = poolOf(a, single).request()
          const rows = request.toReadableStream()
          void request.query(text)
          for await (const row of rows) return row
          return undefined
        }
        expect(await failureOf(() => read('use master'))).toBe(REFUSED)
        await expect(read('select nonsense from nowhere')).rejects.toThrow()
        expect(await read('select 1 as x union all select 2')).toMatchObject({ x: 1 })
        expect(await owners(dbOf(b, single))).toEqual(['b'])
      })

      it('that are left early in a transaction leave it as it was', async () => {
        const held = poolOf(a, single).transaction()
        await held.begin()
        await held.request().query("insert into [__tenant__].[items] ([id], [owner]) values (2, 'kept')")
        const request = held.request()
        const rows = request.toReadableStream()
        const digits = '(values (0),(1),(2),(3),(4),(5),(6),(7),(8),(9))'
        const joins = ['a', 'b', 'c', 'd'].map((name) => `${digits} as ${name}(x)`).join(' cross join ')
        void request.query(`select a.x, replicate('x', 1000) as filling from ${joins}`)
        for await (const row of rows) {
          expect(row).toHaveProperty('x')
          break
        }
        await held.request().query("insert into [__tenant__].[items] ([id], [owner]) values (3, 'after')")
        await held.commit()
        expect((await owners(dbOf(a, single))).sort()).toEqual(['a', 'after', 'kept'])
      })
    })

    describe('guards', () => {
      it('a tenant that is suspended while it waits gets no statement through', async () => {
        const held = poolOf(a, single).transaction()
        await held.begin()
        let suspended = false
        const guard: Guard = () => {
          if (suspended) throw tenancyError('TENANCY_ERR_TENANT_REVOKED')
        }
        const waiting = failureOf(() => poolOf(b, single, guard).request().query('select 1 as x'))
        suspended = true
        await held.rollback()
        expect(await waiting).toBe('TENANCY_ERR_TENANT_REVOKED')
        expect(await owners(dbOf(a, single))).toEqual(['a'])
      })

      it('waits no longer for a connection than it may', async () => {
        const hasty = mssqlServer(database, { poolSize: 1, poolTimeout: 2 })
        await hasty.open()
        const held = poolOf(a, hasty).transaction()
        await held.begin()
        expect(await failureOf(() => owners(dbOf(b, hasty)))).toBe('TENANCY_ERR_POOL_TIMEOUT')
        await held.rollback()
        expect(await owners(dbOf(b, hasty))).toEqual(['b'])
        await hasty.close()
      })
    })

    it('the admin connection reaches everything', async () => {
      const table = strategy === 'schema' ? `[${a.namespace}].[items]` : `[prefixed].[${a.namespace}__items]`
      if (strategy === 'database') return
      expect(await server.admin.query(`select owner from ${table} where id = @p0`, [1])).toEqual([{ owner: 'a' }])
      const db = server.drizzle(server.admin.client) as Db
      await db.transaction((tx) => tx.execute(sql.raw(`update ${table} set n = 5`)))
      expect(await dbOf(a).select().from(items)).toEqual([{ id: 1, owner: 'a', n: 5 }])
      await expect(
        server.admin.transaction(async (query) => {
          await query(`update ${table} set n = 6`)
          throw new Error('undo')
        }),
      ).rejects.toThrow('undo')
      expect((await dbOf(a).select().from(items)).map(({ n }) => n)).toEqual([5])
    })

    it('changes what it means to change', async () => {
      await dbOf(a).update(items).set({ n: 9 }).where(eq(items.id, 1))
      expect((await dbOf(a).select().from(items))[0]?.n).toBe(9)
      expect((await dbOf(b).select().from(items))[0]?.n).toBe(0)
    })
  })

  describe('the tenant of the session', () => {
    let database: MssqlDatabase
    let single: DatabaseServer
    let seen: Awaited<ReturnType<typeof watchConnections>>
    const shared = [placedScope(rlsStrategy()), placedScope(rlsStrategy())] as const
    const alone = placedScope(namespaceStrategy('schema'))
    const ask = async (scope: Scope, text = "select session_context(N'app.current_tenant') as t, @@spid as id") =>
      (await (single.client(scope, open) as RawPool).request().query(text)).recordset[0] as { t: unknown; id: number }

    beforeAll(async () => {
      database = await mssqlDatabase(url)
      single = mssqlServer(database, { poolSize: 1, strategies: ['rls', 'schema'] })
      seen = watchConnections()
      await single.open()
    })
    afterAll(async () => {
      seen?.stop()
      await single?.close()
      await database?.drop()
    })

    it('is that of each statement, in transactions too, and nobody’s for who has names of its own', async () => {
      const { id } = await ask(shared[0])
      for (const scope of [...shared, ...shared]) expect(await ask(scope)).toEqual({ t: scope.tenantId, id })
      expect(await ask(alone)).toEqual({ t: null, id })
      const transaction = (single.client(shared[1], open) as RawPool).transaction()
      await transaction.begin()
      const inside = await transaction.request().query("select session_context(N'app.current_tenant') as t")
      expect(inside.recordset).toEqual([{ t: shared[1].tenantId }])
      await transaction.commit()
      expect(await ask(alone)).toEqual({ t: null, id })
    })

    it('that somebody made read-only lets no statement run, and costs the connection', async () => {
      const { id } = await ask(shared[0])
      await seen.poison("exec sp_set_session_context N'app.current_tenant', N'stranger', @read_only = 1", id)
      await asSuper(database.superUrl, ['create table dbo.trace (x int)', 'grant insert on dbo.trace to public'])
      const failing = ask(shared[0], 'insert into dbo.trace values (1); select 1 as one')
      expect(await failureOf(() => failing)).toBe(UNAVAILABLE)
      expect(await asSuper(database.superUrl, ['select x from dbo.trace'])).toEqual([])
      const next = await ask(shared[0])
      expect(next.t).toBe(shared[0].tenantId)
      expect(next.id).not.toBe(id)
    })

    it('a statement sees no parameter of ours that it could change', async () => {
      const client = single.client(shared[0], open) as RawPool
      await client.request().query('select @tenancy_tenant as x')
      expect(await ask(shared[1])).toMatchObject({ t: shared[1].tenantId })
    })
  })
})
