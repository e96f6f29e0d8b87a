import { setTimeout as sleep } from 'node:timers/promises'
import { sql } from 'drizzle-orm'
import { integer, sqliteTable, text } from 'drizzle-orm/sqlite-core'
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import {
  enterContext,
  runInContext,
  runInTransaction,
  TenancyContext,
  type ContextInstance,
} from '../../src/context.ts'
import type { Scope } from '../../src/contracts/isolation.ts'
import type { Tenant } from '../../src/contracts/tenant.ts'
import { tenancyError } from '../../src/errors.ts'
import { adoptTables } from '../../src/sql/adopt.ts'
import { open } from '../support/database.ts'
import { codeOf } from '../support/errors.ts'
import { dbOf, newTenant, openSqlite, rawClient, type RawClient, type SqliteServer } from '../support/sqlite.ts'

const notes = sqliteTable('notes', { id: integer('id').primaryKey(), text: text('text').notNull() })
const statements = [
  'CREATE TABLE `notes` (`id` integer PRIMARY KEY, `text` text NOT NULL)',
  'CREATE TABLE `tags` (`id` integer PRIMARY KEY, `note_id` integer REFERENCES `notes`(`id`) ON DELETE cascade)',
]
const TABLE = '"__tenant__"."notes"'
const insert = (id: number, value = 'x') => ({ sql: `insert into ${TABLE} values (?, ?)`, args: [id, value] })
const count = async (client: Pick<RawClient, 'execute'>) =>
  (await client.execute(`select count(*) as n from ${TABLE}`)).rows[0]?.['n']

describe.each(['database', 'prefix'] as const)('transactions of %s on SQLite', (strategy) => {
  let files: SqliteServer
  let scope: Scope
  let other: Scope
  let client: RawClient
  beforeAll(async () => {
    adoptTables({ notes })
    files = await openSqlite({ poolTimeout: 0.4 })
    scope = await newTenant(files, strategy, statements)
    other = await newTenant(files, strategy, statements)
    client = rawClient(files, scope)
  })
  afterAll(() => files.close())
  beforeEach(async () => {
    for (const one of [scope, other]) await rawClient(files, one).execute(`delete from ${TABLE}`)
  })

  it('[W61] what one request writes in a transaction, no other sees before its commit, and none is in it', async () => {
    const transaction = await client.transaction()
    await transaction.execute(insert(1))
    expect(await count(client)).toBe(0)
    const waiting = client.execute(insert(2))
    await transaction.rollback()
    await waiting
    expect(await count(client)).toBe(1)
    expect((await client.execute(`select id from ${TABLE}`)).rows).toMatchObject([{ id: 2 }])
  })

  it('[W61] fifty concurrent transactions, half of them undone, are one after the other', async () => {
    const patient = await openSqlite({ poolTimeout: 60 }, files)
    onTestFinished(() => patient.close())
    const db = dbOf(patient, scope)
    let inside = 0
    const work = Array.from({ length: 50 }, (_, i) =>
      db
        .transaction(async (tx) => {
          expect(++inside).toBe(1)
          const before = await tx.select().from(notes)
          await tx.insert(notes).values({ id: i + 1, text: `${i}` })
          await new Promise(setImmediate)
          expect(await tx.select().from(notes)).toHaveLength(before.length + 1)
          inside--
          if (i % 2 === 1) throw new Error('undo')
        })
        .catch((error: unknown) => {
          if (!(error instanceof Error && error.message === 'undo')) throw error
        }),
    )
    await Promise.all(work)
    expect((await db.select().from(notes)).map(({ id }) => id).filter((id) => id % 2 === 0)).toEqual([])
    expect(await count(client)).toBe(25)
  })

  it('nested transactions are savepoints', async () => {
    const db = dbOf(files, scope)
    await db.transaction(async (tx) => {
      await tx.insert(notes).values({ id: 1, text: 'kept' })
      await tx
        .transaction(async (inner) => {
          await inner.insert(notes).values({ id: 2, text: 'undone' })
          await inner.transaction(async (innermost) => {
            await innermost.insert(notes).values({ id: 3, text: 'undone' })
          })
          throw new Error('undo')
        })
        .catch(() => {})
      await tx.transaction(async (inner) => {
        await inner.insert(notes).values({ id: 4, text: 'kept' })
      })
    })
    expect((await db.select().from(notes).orderBy(notes.id)).map(({ id }) => id)).toEqual([1, 4])
  })

  it('waiting for the writer is bounded; who reads does not wait', async () => {
    const transaction = await client.transaction()
    await transaction.execute(insert(1))
    const began = performance.now()
    expect(await codeOf(() => client.execute(insert(2)))).toBe('TENANCY_ERR_POOL_TIMEOUT')
    expect(performance.now() - began).toBeLessThan(2000)
    expect(await count(client)).toBe(0)
    await transaction.commit()
    expect(await count(client)).toBe(1)
  })

  it('a transaction that nobody ends is rolled back when another waits for its writer', async () => {
    const forgotten = await client.transaction()
    await forgotten.execute(insert(1))
    await sleep(700)
    await client.execute(insert(2))
    expect(forgotten.closed).toBe(true)
    expect(await codeOf(() => forgotten.execute(insert(3)))).toBe('TENANCY_ERR_TRANSACTION_FINISHED')
    expect(await codeOf(() => forgotten.commit())).toBe('TENANCY_ERR_TRANSACTION_FINISHED')
    expect((await client.execute(`select id from ${TABLE}`)).rows).toMatchObject([{ id: 2 }])
  })

  it('a transaction that nobody waits for may take its time', async () => {
    const slow = await client.transaction()
    await slow.execute(insert(1))
    await sleep(900)
    await slow.execute(insert(2))
    await slow.commit()
    expect(await count(client)).toBe(2)
  })

  it('a finished transaction refuses everything', async () => {
    for (const end of ['commit', 'rollback', 'close'] as const) {
      const transaction = await client.transaction()
      await transaction.execute(insert(1))
      await transaction[end]()
      expect(transaction.closed).toBe(true)
      expect(await codeOf(() => transaction.execute(insert(9)))).toBe('TENANCY_ERR_TRANSACTION_FINISHED')
      expect(await codeOf(() => transaction.batch([insert(9)]))).toBe('TENANCY_ERR_TRANSACTION_FINISHED')
      expect(await codeOf(() => transaction.commit())).toBe('TENANCY_ERR_TRANSACTION_FINISHED')
      await transaction.rollback()
      await client.execute(`delete from ${TABLE}`)
    }
  })

  it('what SQLite rolls back by itself is told at the commit, and nothing runs outside of the transaction', async () => {
    await client.execute(insert(1))
    const transaction = await client.transaction()
    await transaction.execute(insert(2))
    await expect(transaction.execute(`insert or rollback into ${TABLE} values (1, 'x')`)).rejects.toThrow('UNIQUE')
    expect(await codeOf(() => transaction.execute(insert(3)))).toBe('TENANCY_ERR_TRANSACTION_FINISHED')
    expect(await codeOf(() => transaction.commit())).toBe('TENANCY_ERR_TRANSACTION_ROLLED_BACK')
    expect(await count(client)).toBe(1)
    await client.execute(insert(2))
  })

  it('transaction control in raw SQL is refused, inside and outside', async () => {
    const transaction = await client.transaction()
    for (const text of [
      'commit',
      'rollback',
      'begin',
      'end',
      'savepoint mine',
      "attach 'x' as y",
      'pragma query_only',
    ]) {
      expect(await codeOf(() => transaction.execute(text))).toBe('TENANCY_ERR_STATEMENT_REFUSED')
      expect(await codeOf(() => client.execute(text))).toBe('TENANCY_ERR_STATEMENT_REFUSED')
      expect(await codeOf(() => client.batch([insert(1), text]))).toBe('TENANCY_ERR_STATEMENT_REFUSED')
    }
    expect(await codeOf(() => client.execute('savepoint sp1'))).toBe('TENANCY_ERR_STATEMENT_REFUSED')
    await transaction.commit()
    expect(await codeOf(() => client.migrate([]))).toBe('TENANCY_ERR_STATEMENT_REFUSED')
    expect(await codeOf(() => client.transaction('exclusive'))).toBe('TENANCY_ERR_STATEMENT_REFUSED')
    expect(await count(client)).toBe(0)
  })

  it('foreign keys hold on every connection: after commits, rollbacks and failures too', async () => {
    const orphan = 'insert into "__tenant__"."tags" values (1, 77)'
    const broken = async (runner: Pick<RawClient, 'execute'>) => {
      await expect(runner.execute(orphan)).rejects.toThrow('FOREIGN KEY')
    }
    await broken(client)
    for (const end of ['commit', 'rollback'] as const) {
      const transaction = await client.transaction()
      await broken(transaction)
      await transaction[end]()
      await broken(client)
    }
    await expect(client.batch([insert(1), orphan])).rejects.toThrow('FOREIGN KEY')
    await newTenant(files, strategy, statements)
    await broken(client)
    expect(await count(client)).toBe(0)
  })

  it('nothing of the real client can be reached', async () => {
    expect(Object.isFrozen(client)).toBe(true)
    expect(Object.keys(client).sort()).toEqual(['batch', 'execute', 'migrate', 'transaction'])
    const transaction = await client.transaction()
    expect(Object.isFrozen(transaction)).toBe(true)
    expect(Object.keys(transaction).sort()).toEqual(['batch', 'close', 'closed', 'commit', 'execute', 'rollback'])
    await transaction.rollback()
    expect(await codeOf(() => client.execute({ sql: 5 }))).toBe('TENANCY_ERR_STATEMENT_REFUSED')
  })

  describe('the guard', () => {
    const revoked = { now: false, asked: [] as string[] }
    const guard = (moment?: 'send') => {
      revoked.asked.push(moment ?? 'handed over')
      if (revoked.now) throw tenancyError('TENANCY_ERR_TENANT_REVOKED')
    }
    beforeEach(() => {
      revoked.now = false
      revoked.asked = []
    })

    it('is asked when a statement is handed over, and again after the wait', async () => {
      const holding = await rawClient(files, strategy === 'prefix' ? other : scope).transaction()
      const guarded = rawClient(files, scope, guard)
      const waiting = codeOf(() => guarded.execute(insert(1)))
      const beginning = codeOf(() => guarded.transaction())
      expect(revoked.asked).toEqual(['handed over', 'handed over'])
      await sleep(50)
      revoked.now = true
      await holding.rollback()
      expect(await waiting).toBe('TENANCY_ERR_TENANT_REVOKED')
      expect(await beginning).toBe('TENANCY_ERR_TENANT_REVOKED')
      expect(await codeOf(() => guarded.execute('select 1'))).toBe('TENANCY_ERR_TENANT_REVOKED')
      expect(await count(client)).toBe(0)
    })

    it('is asked again when a statement that reads had to wait for its file', async () => {
      if (strategy === 'prefix') return
      const tight = await openSqlite({ maxOpenFiles: 1 }, files)
      const holding = await rawClient(tight, other).transaction()
      const waiting = codeOf(() => rawClient(tight, scope, guard).execute('select 1'))
      await sleep(20)
      revoked.now = true
      await holding.rollback()
      expect(await waiting).toBe('TENANCY_ERR_TENANT_REVOKED')
      await tight.close()
    })

    it('is asked before a commit: what a tenant did that is no longer served does not land', async () => {
      const guarded = rawClient(files, scope, guard)
      const transaction = await guarded.transaction()
      await transaction.execute(insert(1))
      revoked.now = true
      expect(await codeOf(() => transaction.commit())).toBe('TENANCY_ERR_TENANT_REVOKED')
      expect(await count(client)).toBe(0)
      await client.execute(insert(2))
    })

    it('is asked before the commit of a request’s transaction', async () => {
      const lazy = files.server.lazyTransaction(scope, guard)
      await (lazy.client as RawClient).execute(insert(1))
      revoked.now = true
      expect(await codeOf(() => lazy.commit())).toBe('TENANCY_ERR_TENANT_REVOKED')
      expect(await count(client)).toBe(0)
    })
  })

  describe('the transaction of a request', () => {
    const tenant = { id: 'x' } as Tenant
    const context = new TenancyContext({} as ContextInstance, tenant)

    it('takes no writer before its first statement', async () => {
      const lazy = files.server.lazyTransaction(scope, open)
      await client.execute(insert(1))
      await lazy.commit()
      expect(await codeOf(() => (lazy.client as RawClient).execute('select 1'))).toBe(
        'TENANCY_ERR_TRANSACTION_FINISHED',
      )
    })

    it('commits once, rolls back what was not committed, and refuses afterwards', async () => {
      for (const end of ['commit', 'rollback'] as const) {
        const lazy = files.server.lazyTransaction(scope, open)
        const inside = lazy.client as RawClient
        await inside.execute(insert(end === 'commit' ? 1 : 2))
        await inside.batch([insert(end === 'commit' ? 3 : 4)])
        await lazy[end]()
        await lazy.commit()
        await lazy.rollback()
        expect(await codeOf(() => inside.execute(insert(9)))).toBe('TENANCY_ERR_TRANSACTION_FINISHED')
      }
      expect((await client.execute(`select id from ${TABLE} order by id`)).rows).toMatchObject([{ id: 1 }, { id: 3 }])
    })

    it('nested transactions are savepoints, in turns; a statement beside one is not undone with it', async () => {
      const lazy = files.server.lazyTransaction(scope, open)
      const inside = lazy.client as RawClient
      const first = await inside.transaction()
      await first.execute(insert(1))
      const beside = inside.execute(insert(2))
      const second = inside.transaction()
      await new Promise(setImmediate)
      await first.rollback()
      await beside
      await (await second).execute(insert(3))
      await (await second).commit()
      expect(await codeOf(() => first.execute(insert(9)))).toBe('TENANCY_ERR_TRANSACTION_FINISHED')
      expect(await codeOf(async () => (await second).commit())).toBe('TENANCY_ERR_TRANSACTION_FINISHED')
      await lazy.commit()
      expect((await client.execute(`select id from ${TABLE} order by id`)).rows).toMatchObject([{ id: 2 }, { id: 3 }])
    })

    it('a write beside it, which would wait for itself, is refused at once; a read works', async () => {
      await runInContext(context, async () => {
        const transaction = await client.transaction()
        const began = performance.now()
        await runInTransaction('x', {}, async () => {
          await transaction.execute(insert(1))
          expect(await codeOf(() => client.execute(insert(2)))).toBe('TENANCY_ERR_STATEMENT_REFUSED')
          expect(await codeOf(() => client.transaction())).toBe('TENANCY_ERR_STATEMENT_REFUSED')
          expect(await count(client)).toBe(0)
        })
        expect(performance.now() - began).toBeLessThan(300)
        // Beside the callback it is another's turn: it waits.
        const waiting = client.execute(insert(3))
        await transaction.commit()
        await waiting
      })
      expect(await count(client)).toBe(2)
      const lazy = files.server.lazyTransaction(scope, open)
      await enterContext(context.inTransaction({}), async () => {
        await (lazy.client as RawClient).execute(insert(4))
        expect(await codeOf(() => client.execute(insert(5)))).toBe('TENANCY_ERR_STATEMENT_REFUSED')
        expect(await count(client)).toBe(2)
      })
      await lazy.commit()
    })
  })

  it('the admin connection: rows, transactions, the same writer', async () => {
    const { admin } = files.server
    await admin.query('create table if not exists plain (id integer primary key)')
    await admin.query('delete from plain')
    await admin.transaction(async (query) => {
      await query('insert into plain values (?)', [1])
      expect(await admin.query('select * from plain')).toEqual([])
    })
    const failing = admin.transaction(async (query) => {
      await query('insert into plain values (2)')
      throw new Error('undo')
    })
    await expect(failing).rejects.toThrow('undo')
    expect(await admin.query<{ id: number }>('select id from plain')).toMatchObject([{ id: 1 }])
    const db = files.server.drizzle(admin.client) as ReturnType<typeof dbOf>
    expect(await db.all(sql`select id from plain`)).toEqual([{ id: 1 }])
    // A tenant of another file, or of prefixed names, finds no such table, or knows nothing of its name.
    if (strategy === 'database') await expect(client.execute('select * from plain')).rejects.toThrow('no such table')
  })
})
