import { eq, sql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/mysql2'
import { int, mysqlTable, varchar } from 'drizzle-orm/mysql-core'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { TenancyContext, currentContext, runInContext } from '../../src/context.ts'
import type { DatabaseServer, Guard } from '../../src/contracts/dialect.ts'
import type { Scope } from '../../src/contracts/isolation.ts'
import { tenancyError } from '../../src/errors.ts'
import { namespaceStrategy } from '../../src/isolation/namespace.ts'
import { adoptTables } from '../../src/sql/adopt.ts'
import { codeOf } from '../attack/operation.ts'
import { type RunningMariadb, startMariadb } from '../servers/mariadb.ts'
import { describeWith } from '../servers/suite.ts'
import { open, placedScope } from '../support/database.ts'
import { asRoot, type MysqlDatabase, mysqlDatabase, mysqlServer } from '../support/mysql.ts'

const items = mysqlTable('items', {
  id: int('id').primaryKey().autoincrement(),
  owner: varchar('owner', { length: 100 }).notNull(),
  n: int('n').notNull().default(0),
})
adoptTables({ items })

const ddl =
  'create table `items` (`id` int auto_increment primary key, `owner` varchar(100) not null, `n` int not null default 0)'

const REFUSED = 'TENANCY_ERR_STATEMENT_REFUSED'
const FINISHED = 'TENANCY_ERR_TRANSACTION_FINISHED'

/** What both forms of client have, as mysql2's promises have it. */
interface RawClient {
  query(config: string | object, values?: unknown[]): Promise<[unknown, unknown]>
  execute(config: string | object, values?: unknown[]): Promise<[unknown, unknown]>
}
interface RawConnection extends RawClient {
  release(): void
  connection: {
    query(config: string | object, values?: unknown[]): { stream(): AsyncIterable<unknown> }
  }
}
interface RawPool extends RawClient {
  getConnection(): Promise<RawConnection>
  end(): Promise<void>
}

const failureOf = async (work: () => unknown): Promise<string | undefined> => {
  try {
    await work()
    return undefined
  } catch (error) {
    return codeOf(error)
  }
}

describeWith(['mariadb'], 'MariaDB', () => {
  /** Its own: what is set for a whole server is everybody's. */
  let own: RunningMariadb
  beforeAll(async () => {
    own = await startMariadb()
  })
  afterAll(() => own?.stop())

  describe.each(['schema', 'prefix'] as const)('%s', (strategy) => {
    let database: MysqlDatabase
    let server: DatabaseServer
    /** One connection, so that whatever is left on it would be met again. */
    let single: DatabaseServer
    let a: Scope
    let b: Scope
    const poolOf = (scope: Scope, on = server, guard: Guard = open) => on.client(scope, guard) as RawPool
    const dbOf = (scope: Scope, on = server, guard: Guard = open) =>
      drizzle({ client: on.client(scope, guard) as never })
    const owners = async (db: Pick<ReturnType<typeof dbOf>, 'select'>) =>
      (await db.select().from(items)).map(({ owner }) => owner)
    const connectionId = async (on = single) => {
      const [[row]] = (await poolOf(a, on).query('select connection_id() as id')) as unknown as [[{ id: number }]]
      return row.id
    }

    beforeAll(async () => {
      database = await mysqlDatabase(own.url)
      server = mysqlServer(database, { poolSize: 3 })
      single = mysqlServer(database, { poolSize: 1, poolTimeout: 1 })
      expect(await server.open()).toEqual([])
      await single.open()
      ;[a, b] = [placedScope(namespaceStrategy(strategy)), placedScope(namespaceStrategy(strategy))]
      for (const scope of [a, b]) {
        await server.inNamespace(scope, async (session) => {
          await session.ensure()
          await session.run(server.parseDdl(ddl).render(scope))
        })
      }
    })
    afterAll(async () => {
      await server?.close()
      await single?.close()
      await database?.drop()
    })
    beforeEach(async () => {
      for (const [scope, owner] of [
        [a, 'a'],
        [b, 'b'],
      ] as const) {
        const db = dbOf(scope)
        await db.delete(items)
        await db.insert(items).values({ owner })
      }
      expect(single.stats()['serving']?.waiting).toBe(0)
    })

    it('hands out an object through which nothing of the real pool can be reached', async () => {
      const pool = poolOf(a)
      const connection = await pool.getConnection()
      const cursor = connection.connection.query('select 1')
      expect(Object.isFrozen(pool) && Object.isFrozen(connection) && Object.isFrozen(connection.connection)).toBe(true)
      expect(Object.keys(pool).sort()).toEqual(['end', 'execute', 'getConnection', 'query'])
      expect(membersOf(connection)).toEqual(['connection', 'constructor', 'execute', 'query', 'release'])
      expect(Object.keys(connection.connection).sort()).toEqual(['end', 'off', 'on', 'query'])
      expect(Object.keys(cursor)).toEqual(['stream'])
      for (const found of reachable([pool, connection, cursor.stream()])) {
        expect(['Pool', 'PoolConnection', 'Connection', 'Lease', 'Query']).not.toContain(found.constructor?.name)
      }
      connection.release()
      expect(await failureOf(() => pool.end())).toBe(REFUSED)
      expect(await owners(dbOf(b))).toEqual(['b'])
    })

    it('has no default database: an unqualified name is nobody’s', async () => {
      expect(await failureOf(() => poolOf(a).query('select * from items'))).toBe('ER_NO_DB_ERROR')
      expect(await failureOf(() => poolOf(a).query('insert into items (owner) values (1)'))).toBe('ER_NO_DB_ERROR')
      const connection = await poolOf(a).getConnection()
      await connection.query('begin')
      expect(await failureOf(() => connection.query('select * from items'))).toBe('ER_NO_DB_ERROR')
      connection.release()
    })

    it.each([
      'use mysql',
      'set names gbk',
      "set session sql_mode = 'NO_BACKSLASH_ESCAPES'",
      'set @x = 1',
      'set global max_connections = 10',
      'set autocommit = 0',
      'set session transaction read only',
      'prepare p from "select 1"',
      'execute immediate "use mysql"',
      'lock tables x read',
      'unlock tables',
      'handler x open',
      'create temporary table t (id int)',
      'create table t (id int)',
      'alter table t add x int',
      'drop table `__tenant__`.`items`',
      'truncate table `__tenant__`.`items`',
      'rename table a to b',
      "load data local infile '/etc/passwd' into table `__tenant__`.`items`",
      'kill 1',
      'show processlist',
      'show warnings',
      'show databases',
      'select * from information_schema.processlist',
      'select * from `information_schema`.`tables`',
      'select @@identity',
      'select last_insert_id()',
      'select `last_insert_id` ()',
      'select found_rows()',
      'select row_count()',
      'select 1 /*! , 2 */',
      '/*! use mysql */',
      '/*M!100000 select 1 */',
      '-- x\r /*! use mysql */',
      'xa start "x"',
      'flush tables',
      'grant all on *.* to x',
      'begin not atomic select 1; end',
      'start transaction; select 1',
      'commit and chain',
      'rollback release',
      'explain for connection 1',
      'do sleep(0)',
      'do release_all_locks()',
      '',
      ';',
    ])('refuses before it is sent: %j', async (text) => {
      const sent: string[] = []
      const told = mysqlServer(database, {
        onStatement: (statement) => sent.push(statement),
      })
      await told.open()
      const pool = poolOf(a, told)
      expect(await failureOf(() => pool.query(text))).toBe(REFUSED)
      expect(await failureOf(() => pool.execute({ sql: text }))).toBe(REFUSED)
      const connection = await pool.getConnection()
      expect(await failureOf(() => connection.query(text))).toBe(REFUSED)
      await connection.query('begin')
      expect(await failureOf(() => connection.query(text))).toBe(REFUSED)
      await connection.query('rollback')
      connection.release()
      expect(sent).toEqual(['begin', 'rollback'])
      expect(await owners(dbOf(a, told))).toEqual(['a'])
      await told.close()
    })

    it('never runs two statements, whatever the URL says', async () => {
      expect(await failureOf(() => poolOf(a).query('select 1; select 2'))).toBe('ER_PARSE_ERROR')
      const willing = mysqlServer(database, {
        url: `${database.url}?multipleStatements=true&flags=MULTI_STATEMENTS`,
      })
      await willing.open()
      expect(await failureOf(() => poolOf(a, willing).query('select 1; select 2'))).toBe('ER_PARSE_ERROR')
      await willing.close()
    })

    it('destroys a connection that a statement left something on, and no other', async () => {
      const first = await connectionId()
      await owners(dbOf(a, single))
      await dbOf(a, single).transaction(async (tx) => owners(tx))
      await failureOf(() => poolOf(a, single).query('select nonsense'))
      expect(await connectionId()).toBe(first)
      let last = first
      for (const text of ['select @secret := 1', "select get_lock('x', 0)", 'select `get_lock`("y", 0)']) {
        await poolOf(a, single).query(text)
        const next = await connectionId()
        expect(next, text).not.toBe(last)
        last = next
      }
      const [[row]] = (await poolOf(b, single).query('select @secret as secret')) as unknown as [[{ secret: unknown }]]
      expect(row.secret).toBeNull()
    })

    it('destroys the connection after a procedure, which may have changed anything', async () => {
      const schema = strategy === 'schema' ? a.namespace : database.database
      await asRoot(database.superUrl, [
        `create or replace procedure ${schema}.wild() begin set session sql_mode = 'NO_BACKSLASH_ESCAPES'; select 1 as one; commit; end`,
        `create or replace procedure ${schema}.locking() do get_lock('procedure', 0)`,
        `grant execute on procedure ${schema}.wild to ${database.servingUser}@'%'`,
        `grant execute on procedure ${schema}.locking to ${database.servingUser}@'%'`,
      ])
      const first = await connectionId()
      const [results] = (await poolOf(a, single).query(`call ${schema}.wild()`)) as unknown as [[{ one: number }[]]]
      expect(results[0]).toEqual([{ one: 1 }])
      const second = await connectionId()
      expect(second).not.toBe(first)
      // The server does not tell of a lock.
      await poolOf(a, single).query(`call ${schema}.locking()`)
      expect(await connectionId()).not.toBe(second)
      // Its COMMIT ends the transaction around it.
      const work = dbOf(a, single).transaction(async (tx) => {
        await tx.insert(items).values({ owner: 'committed' })
        await tx.execute(sql.raw(`call ${schema}.wild()`))
        await tx.insert(items).values({ owner: 'alone' })
      })
      expect(await failureOf(() => work)).toBe(FINISHED)
      expect((await owners(dbOf(a))).sort()).toEqual(['a', 'committed'])
    })

    describe('parameters', () => {
      const hostile = [
        `\\' or 1=1 -- `,
        `' or '1'='1`,
        `"; drop table items; -- `,
        '\\',
        `\\\\'`,
        '\u0000\u001a\n\r\b\t',
        '縗\\',
        `${Buffer.from([0xbf, 0x27]).toString('latin1')} or 1=1 -- `,
        '`__tenant__`.`items`',
        '?',
        '??',
        ':name',
        '/*! or 1=1 */',
        '\ud800',
        'ʼ＇',
        '%_',
      ]
      const strange = [
        { owner: 'x' },
        { toSqlString: () => '1 or 1=1' },
        [`a' or 1=1 -- `, 'b'],
        [['a'], ['b']],
        Object.assign([], { toSqlString: () => '1 or 1=1' }),
        Object.assign(new Date(0), { toSqlString: () => '1 or 1=1' }),
        Object.assign(Buffer.from(`' or 1=1 -- `), {
          toSqlString: () => '1 or 1=1',
        }),
        new Map([['owner', 'x']]),
        { [Symbol.for('sql-escaper.expand')]: true, value: { owner: 'x' } },
        { raw: '1=1', type: 'Identifier' },
      ]

      for (const how of ['query', 'execute'] as const) {
        it(`arrive as they are, and as nothing else, with ${how}()`, async () => {
          const db = dbOf(a, single)
          for (const value of hostile) {
            await db.update(items).set({ owner: value })
            if (value !== '\ud800') expect(await owners(db), JSON.stringify(value)).toEqual([value])
            const text = 'select ? as v, count(*) as n from `__tenant__`.`items` where owner = ? and owner = ?'
            const [[row]] = (await poolOf(a, single)[how](text, [value, value, 'nobody'])) as unknown as [
              [{ n: number }],
            ]
            expect(row.n, JSON.stringify(value)).toBe(0)
            expect(await owners(dbOf(b, single))).toEqual(['b'])
          }
        })

        it(`of any kind stay one constant, with ${how}()`, async () => {
          for (const value of strange) {
            const text = 'select count(*) as n from `__tenant__`.`items` where owner = concat(?)'
            const [[row]] = (await poolOf(a, single)[how](text, [value])) as unknown as [[{ n: number }]]
            expect(row.n).toBe(0)
            const update = 'update `__tenant__`.`items` set owner = concat(?) where id = -1'
            expect((await poolOf(a, single)[how]({ sql: update, values: [value] }))[0]).toMatchObject({
              affectedRows: 0,
            })
          }
        })

        it(`that are no values are refused, with ${how}()`, async () => {
          for (const value of [Number.NaN, Number.POSITIVE_INFINITY, () => 1, Symbol('x')]) {
            expect(await failureOf(() => poolOf(a)[how]('select ?', [value]))).toBe(REFUSED)
          }
          expect(await failureOf(() => poolOf(a)[how]({ sql: 'select ?', values: { a: 1 } }))).toBe(REFUSED)
        })
      }

      it('are safe whatever sql_mode and character set the server prefers', async () => {
        const [before] = await asRoot<{
          mode: string
          charset: string
          connect: string
        }>(database.superUrl, [
          'select @@global.sql_mode as mode, @@global.character_set_client as charset, @@global.init_connect as connect',
        ])
        await asRoot(database.superUrl, [
          "set global sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES'",
          'set global character_set_client = gbk',
          'set global autocommit = 0',
          'set global completion_type = CHAIN',
          "set global init_connect = 'set names gbk'",
        ])
        try {
          const fresh = mysqlServer(database, { poolSize: 1 })
          await fresh.open()
          const db = dbOf(a, fresh)
          for (const value of hostile.filter((text) => text !== '\ud800')) {
            await db.update(items).set({ owner: value })
            expect(await owners(db), JSON.stringify(value)).toEqual([value])
          }
          await db.transaction(async (tx) => tx.update(items).set({ owner: 'a' }))
          expect(await owners(dbOf(b, fresh))).toEqual(['b'])
          await fresh.close()
        } finally {
          await asRoot(database.superUrl, [
            `set global sql_mode = '${before?.mode}'`,
            `set global character_set_client = ${before?.charset}`,
            'set global autocommit = 1',
            'set global completion_type = NO_CHAIN',
            `set global init_connect = '${before?.connect}'`,
          ])
        }
      })

      it('stand where a placeholder is, and never in a string, a comment, a hint or a name', async () => {
        const escape = `*/ 'taken' as v from dual -- \n`
        for (const [text, value] of [
          ['select /*+ why? */ ? as v', escape],
          ['select /* why? */ ? as v', escape],
          ['select ? as v -- why?', escape],
          ['select -- why?\n ? as v', escape],
          ['select --\u007f why?\n ? as v', escape],
          ['select ? as v # why?', escape],
          ['select ? as v, \'?\' as `?`, "?" as x', escape],
          ["select '\\'?' as x, ? as v", escape],
          ["select 'it''s ?' as x, ? as v", escape],
        ] as const) {
          for (const sent of [text, { sql: text }]) {
            const [rows] = await poolOf(a, single).query(sent, [value])
            expect(rows, text).toMatchObject([{ v: value }])
          }
        }
      })

      it('are refused where they and the placeholders do not match, and where they would be names', async () => {
        for (const [text, values] of [
          ['select ?', ['x', 'y']],
          ['select ?, ?', ['x']],
          ["select '?'", ['x']],
          ['select ?', undefined],
          ['select * from ??', ['mysql.user']],
          ['select ??', ['x', 'y']],
          ['select ???', ['x', 'y', 'z']],
        ] as const) {
          expect(await failureOf(() => poolOf(a).query(text, values as never)), text).toBe(REFUSED)
          const connection = await poolOf(a).getConnection()
          expect(await failureOf(() => connection.query({ sql: text, values })), text).toBe(REFUSED)
          connection.release()
        }
      })

      it('are not in what an error shows', async () => {
        const error = (await poolOf(a)
          .query('insert into `__tenant__`.`items` (nonsense) values (?)', ['hunter2'])
          .catch((failure: unknown) => failure)) as Error & { sql: string }
        expect(error.sql).toContain('(nonsense) values (?)')
        expect(JSON.stringify([error, error.message])).not.toContain('hunter2')
      })
    })

    describe('transactions', () => {
      it('commit, roll back, nest, and take isolation levels that end with them', async () => {
        const db = dbOf(a, single)
        const first = await connectionId()
        await db.transaction(
          async (tx) => {
            await tx.insert(items).values({ owner: 'tx' })
            await tx.transaction(async (inner) => inner.insert(items).values({ owner: 'inner' }))
            await tx
              .transaction(async (inner) => {
                await inner.insert(items).values({ owner: 'undone' })
                inner.rollback()
              })
              .catch(() => {})
          },
          { isolationLevel: 'serializable', withConsistentSnapshot: true },
        )
        expect((await owners(db)).sort()).toEqual(['a', 'inner', 'tx'])
        expect(
          await failureOf(() =>
            db.transaction(async (tx) => tx.insert(items).values({ owner: 'x' }), {
              accessMode: 'read only',
              isolationLevel: 'read committed',
            }),
          ),
        ).toBe('ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION')
        await db.update(items).set({ n: 1 })
        expect(await connectionId()).toBe(first)
      })

      it('SET TRANSACTION that no transaction followed does not wait for the next tenant', async () => {
        const first = await connectionId()
        const connection = await poolOf(a, single).getConnection()
        await connection.query('set transaction read only')
        connection.release()
        expect(await connectionId()).not.toBe(first)
        await dbOf(b, single).transaction(async (tx) => tx.insert(items).values({ owner: 'b' }))
        expect(await failureOf(() => poolOf(a).query('set transaction read only'))).toBe(REFUSED)
      })

      it('refuse DDL, which would commit them silently, and everything after their end', async () => {
        let left: Pick<ReturnType<typeof dbOf>, 'select'> | undefined
        const work = dbOf(a, single).transaction(async (tx) => {
          left = tx
          await tx.insert(items).values({ owner: 'tx' })
          for (const text of ['create table t (id int)', 'truncate table `__tenant__`.`items`', 'lock tables x read']) {
            expect(await failureOf(() => tx.execute(sql.raw(text)))).toBe(REFUSED)
          }
          await tx.execute(sql`commit`)
          expect(await failureOf(() => owners(tx))).toBe(FINISHED)
          expect(await failureOf(() => tx.insert(items).values({ owner: 'alone' }))).toBe(FINISHED)
        })
        expect(await failureOf(() => work)).toBe(FINISHED)
        expect((await owners(dbOf(a, single))).sort()).toEqual(['a', 'tx'])
        expect(await failureOf(() => owners(left as never))).toBe(FINISHED)
      })

      it('that are left open, or released with work under way, are rolled back and their connection destroyed', async () => {
        const first = await connectionId()
        const connection = await poolOf(a, single).getConnection()
        await connection.query('begin')
        await connection.query('delete from `__tenant__`.`items`')
        connection.release()
        expect(await failureOf(() => connection.query('select 1'))).toBe(FINISHED)
        expect(await owners(dbOf(a, single))).toEqual(['a'])
        const second = await connectionId()
        expect(second).not.toBe(first)
        const busy = await poolOf(a, single).getConnection()
        const running = failureOf(() => busy.query('select sleep(5)'))
        await new Promise((resolve) => setTimeout(resolve, 30))
        busy.release()
        expect(await running).toBe('TENANCY_ERR_DATABASE_UNAVAILABLE')
        expect(await connectionId()).not.toBe(second)
      })

      it('BEGIN inside of one is refused, and the transaction goes on', async () => {
        await dbOf(a, single).transaction(async (tx) => {
          await tx.insert(items).values({ owner: 'tx' })
          expect(await failureOf(() => tx.execute(sql`begin`))).toBe(REFUSED)
          expect(await failureOf(() => tx.execute(sql`start transaction`))).toBe(REFUSED)
          await tx.insert(items).values({ owner: 'more' })
        })
        expect((await owners(dbOf(a))).sort()).toEqual(['a', 'more', 'tx'])
      })

      it('a deadlock ends one: nothing of it is committed on its own afterwards, and the commit says so', async () => {
        const db = dbOf(a)
        await db.delete(items)
        await db.insert(items).values([
          { id: 1, owner: 'one' },
          { id: 2, owner: 'two' },
        ])
        const met = barrier(2)
        const fates = await Promise.all(
          [
            [1, 2],
            [2, 1],
          ].map(async ([mine, theirs], who) => {
            let after: string | undefined
            const outcome = await failureOf(() =>
              db.transaction(async (tx) => {
                await tx
                  .update(items)
                  .set({ n: 10 + who })
                  .where(eq(items.id, mine as number))
                await met()
                const clash = await failureOf(() =>
                  tx
                    .update(items)
                    .set({ n: 10 + who })
                    .where(eq(items.id, theirs as number)),
                )
                if (clash === undefined) return
                expect(clash).toBe('ER_LOCK_DEADLOCK')
                // A careless application that goes on.
                after = await failureOf(() => tx.insert(items).values({ owner: 'after the deadlock' }))
              }),
            )
            return { outcome, after }
          }),
        )
        expect(fates.filter(({ outcome }) => outcome === undefined)).toHaveLength(1)
        const [victim] = fates.filter(({ outcome }) => outcome !== undefined)
        expect(victim).toEqual({
          outcome: 'TENANCY_ERR_TRANSACTION_ROLLED_BACK',
          after: FINISHED,
        })
        const rows = await db.select().from(items)
        expect(rows.map(({ owner }) => owner).sort()).toEqual(['one', 'two'])
        expect(new Set(rows.map(({ n }) => n)).size).toBe(1)
      })

      it('an ordinary error does not end one', async () => {
        await dbOf(a, single).transaction(async (tx) => {
          await tx.insert(items).values({ owner: 'tx' })
          expect(await failureOf(() => tx.execute(sql`select nonsense from ${items}`))).toBe('ER_BAD_FIELD_ERROR')
          await tx.insert(items).values({ owner: 'more' })
        })
        expect((await owners(dbOf(a))).sort()).toEqual(['a', 'more', 'tx'])
      })
    })

    describe('a typeCast', () => {
      /** Rows that come in many pieces, so that some are still on their way when the first one is read. */
      const wide = `select repeat('a', 3000000) as v union all select repeat('b', 3000000) union all select repeat('c', 10)`
      const disguised = Object.assign(new Error('of the caller'), { errno: 1064, sqlState: '42000' })
      const typeCast = () => {
        throw disguised
      }

      it('that throws what looks like an error of the server leaves no rows to whoever comes next', async () => {
        const failing = failureOf(() => poolOf(a, single).query({ sql: wide, typeCast }))
        expect(await owners(dbOf(b, single))).toEqual(['b'])
        await failing
        const connection = await poolOf(a, single).getConnection()
        const stream = failureOf(async () => {
          for await (const _ of connection.connection.query({ sql: wide, typeCast }).stream());
        })
        expect(await failureOf(() => connection.query('select owner from `__tenant__`.`items`'))).toBe(
          'TENANCY_ERR_DATABASE_UNAVAILABLE',
        )
        await stream
        connection.release()
        expect(await owners(dbOf(b, single))).toEqual(['b'])
      })

      it('is not handed the connection and its password', async () => {
        const seen: unknown[] = []
        function cast(this: unknown, _field: unknown, next: () => unknown) {
          seen.push(this)
          return next()
        }
        const [rows] = await poolOf(a, single).query({
          sql: 'select 1 as one, ? as two',
          values: ['2'],
          typeCast: cast,
        })
        expect(rows).toEqual([{ one: 1, two: '2' }])
        expect(seen).toEqual([undefined, undefined])
      })
    })

    describe('iterators', () => {
      const many = async (db: ReturnType<typeof dbOf>, rows = 200) =>
        db.insert(items).values(Array.from({ length: rows }, (_, n) => ({ owner: 'a', n })))

      it('give the tenant’s rows, on the pool and in a transaction, and leave the connection as it was', async () => {
        const db = dbOf(a, single)
        await many(db)
        const first = await connectionId()
        const read = async (on: Pick<typeof db, 'select'>) => {
          const seen = new Set<string>()
          let count = 0
          for await (const row of on.select().from(items).prepare().iterator()) {
            seen.add(row.owner)
            count++
          }
          return [count, [...seen]]
        }
        expect(await read(db)).toEqual([201, ['a']])
        expect(await connectionId()).toBe(first)
        await db.transaction(async (tx) => {
          expect(await read(tx)).toEqual([201, ['a']])
          await tx.insert(items).values({ owner: 'a' })
        })
        expect(await connectionId()).toBe(first)
        expect(await read(dbOf(b, single))).toEqual([1, ['b']])
      })

      it('that are left early hang nobody', async () => {
        const db = dbOf(a, single)
        await many(db, 2000)
        for await (const row of db.select().from(items).prepare().iterator()) {
          expect(row.owner).toBe('a')
          break
        }
        expect(await owners(dbOf(b, single))).toEqual(['b'])
        await db.transaction(async (tx) => {
          for await (const row of tx.select().from(items).prepare().iterator()) {
            expect(row.owner).toBe('a')
            break
          }
          await tx.insert(items).values({ owner: 'after' })
        })
        expect(await owners(db)).toContain('after')
      })

      it('let other statements of the transaction in between', async () => {
        const db = dbOf(a, single)
        await many(db, 300)
        await db.transaction(async (tx) => {
          let written = 0
          for await (const row of tx.select().from(items).prepare().iterator()) {
            if (row.n % 100 !== 0) continue
            await tx.insert(items).values({ owner: 'between' })
            written++
          }
          expect(written).toBe(4)
        })
      })

      it('tell errors and refusals', async () => {
        const connection = await poolOf(a, single).getConnection()
        const drain = async (text: string) => {
          for await (const _ of connection.connection.query(text).stream());
        }
        expect(await failureOf(() => drain('select nonsense from `__tenant__`.`items`'))).toBe('ER_BAD_FIELD_ERROR')
        expect(await failureOf(() => drain('use mysql'))).toBe(REFUSED)
        expect(await failureOf(() => drain('commit'))).toBe(REFUSED)
        expect(await failureOf(() => drain('select * from items'))).toBe('ER_NO_DB_ERROR')
        connection.release()
        expect(await failureOf(() => drain('select 1'))).toBe(FINISHED)
      })
    })

    describe('guards and contexts', () => {
      const context = (id: string) => new TenancyContext({} as never, { id } as never)
      const bound =
        (scope: Scope): Guard =>
        (moment) => {
          const current = currentContext()?.tenant
          if (moment !== 'send' && current !== undefined && current.id !== scope.tenantId) {
            throw tenancyError('TENANCY_ERR_TENANT_MISMATCH')
          }
        }

      it('[W51] what was made for one tenant is refused in the context of another', async () => {
        const db = dbOf(a, server, bound(a))
        const prepared = db.select().from(items).prepare()
        const query = db.select().from(items)
        await runInContext(context(b.tenantId), async () => {
          expect(await failureOf(() => prepared.execute())).toBe('TENANCY_ERR_TENANT_MISMATCH')
          expect(await failureOf(() => query)).toBe('TENANCY_ERR_TENANT_MISMATCH')
          expect(await failureOf(() => db.transaction(async () => {}))).toBe('TENANCY_ERR_TENANT_MISMATCH')
        })
        await runInContext(context(a.tenantId), async () => expect(await prepared.execute()).toHaveLength(1))
      })

      it('a wait in somebody else’s queue changes neither scope nor context', async () => {
        await Promise.all(
          Array.from({ length: 40 }, (_, i) => (i % 2 === 0 ? a : b)).map((scope) =>
            runInContext(context(scope.tenantId), async () => {
              const db = dbOf(scope, single, bound(scope))
              expect(await owners(db)).toEqual([scope === a ? 'a' : 'b'])
              expect(currentContext()?.tenant?.id).toBe(scope.tenantId)
              await db.transaction(async (tx) => {
                expect(await owners(tx)).toEqual([scope === a ? 'a' : 'b'])
                expect(currentContext()?.tenant?.id).toBe(scope.tenantId)
              })
            }),
          ),
        )
      })

      it('rows of a stream come in the context of who asked, on a connection that another tenant opened', async () => {
        const fresh = mysqlServer(database, { poolSize: 1 })
        await fresh.open()
        await runInContext(context(b.tenantId), () => owners(dbOf(b, fresh)))
        const seen = new Set<string | undefined>()
        await runInContext(context(a.tenantId), async () => {
          const connection = await poolOf(a, fresh).getConnection()
          const stream = connection.connection.query('select * from `__tenant__`.`items`').stream()
          await new Promise((resolve, reject) => {
            const rows = stream as unknown as NodeJS.EventEmitter
            rows.on('data', () => seen.add(currentContext()?.tenant?.id))
            rows.on('end', resolve)
            rows.on('error', reject)
          })
          connection.release()
        })
        expect([...seen]).toEqual([a.tenantId])
        await fresh.close()
      })

      it('a tenant that is suspended meanwhile gets no statement through, and its connection goes on', async () => {
        let revoked = false
        const guard: Guard = () => {
          if (revoked) throw tenancyError('TENANCY_ERR_TENANT_REVOKED')
        }
        const db = dbOf(a, single, guard)
        const first = await connectionId()
        await expect(
          db.transaction(async (tx) => {
            await tx.insert(items).values({ owner: 'tx' })
            revoked = true
            await tx.insert(items).values({ owner: 'more' })
          }),
        ).rejects.toMatchObject({
          cause: { code: 'TENANCY_ERR_TENANT_REVOKED' },
        })
        expect(await failureOf(() => owners(db))).toBe('TENANCY_ERR_TENANT_REVOKED')
        expect(await owners(dbOf(a, single))).toEqual(['a'])
        expect(await connectionId()).toBe(first)
        revoked = false
        // One that waits for its connection is asked again.
        const held = await poolOf(b, single).getConnection()
        const waiting = failureOf(() => owners(db))
        await new Promise((resolve) => setTimeout(resolve, 20))
        revoked = true
        held.release()
        expect(await waiting).toBe('TENANCY_ERR_TENANT_REVOKED')
        expect(await owners(dbOf(b, single))).toEqual(['b'])
      })
    })

    it('waits no longer for a connection than it may', async () => {
      const held = await poolOf(a, single).getConnection()
      const before = Date.now()
      expect(await failureOf(() => owners(dbOf(b, single)))).toBe('TENANCY_ERR_POOL_TIMEOUT')
      expect(await failureOf(() => dbOf(b, single).transaction(async () => {}))).toBe('TENANCY_ERR_POOL_TIMEOUT')
      expect(Date.now() - before).toBeLessThan(4000)
      held.release()
      expect(await owners(dbOf(b, single))).toEqual(['b'])
      expect(single.stats()['serving']).toEqual({
        total: 1,
        idle: 1,
        waiting: 0,
      })
    })

    it('one transaction for a request, with nested ones as savepoints', async () => {
      const before = await owners(dbOf(a))
      const kept = single.lazyTransaction(a, open)
      const db = drizzle({ client: kept.client as never })
      await db.insert(items).values({ owner: 'one' })
      await db.transaction(async (tx) => {
        await tx.insert(items).values({ owner: 'two' })
        await tx
          .transaction(async (inner) => {
            await inner.insert(items).values({ owner: 'undone' })
            throw new Error('undo')
          })
          .catch(() => {})
      })
      await db
        .transaction(async (tx) => {
          await tx.insert(items).values({ owner: 'undone too' })
          throw new Error('undo')
        })
        .catch(() => {})
      expect(await failureOf(() => db.execute(sql`commit`))).toBe(REFUSED)
      const seen = []
      for await (const { owner } of db.select().from(items).prepare().iterator()) seen.push(owner)
      expect(seen.sort()).toEqual(['a', 'one', 'two'])
      expect(await owners(dbOf(a))).toEqual(before)
      await kept.commit()
      expect(await failureOf(() => owners(db))).toBe(FINISHED)
      expect((await owners(dbOf(a))).sort()).toEqual(['a', 'one', 'two'])
      const undone = single.lazyTransaction(a, open)
      await drizzle({ client: undone.client as never }).delete(items)
      await undone.rollback()
      await undone.rollback()
      expect(await owners(dbOf(a, single))).toHaveLength(3)
      const unused = single.lazyTransaction(b, open)
      await unused.commit()
    })

    it('the admin connection reaches everything and hands nothing to tenants', async () => {
      const admin = drizzle({ client: server.admin.client as never })
      const [rows] = (await admin.execute(sql.raw(server.parseDdl('delete from `items`').render(b)))) as unknown as [
        object,
      ]
      expect(rows).toMatchObject({ affectedRows: 1 })
      await admin.transaction(async (tx) => tx.execute(sql`select 1`))
      expect(await owners(dbOf(a))).toEqual(['a'])
      expect(await owners(dbOf(b))).toEqual([])
      const [[grants]] = (await server.admin
        .query<Record<string, string>>('show databases like ?', [
          strategy === 'schema' ? a.namespace : database.database,
        ])
        .then((found) => [found])) as [Record<string, string>[]]
      expect(Object.values(grants ?? {})).toHaveLength(1)
      await expect(
        server.admin.transaction(async (query) => {
          await query(server.parseDdl('delete from `items`').render(a))
          throw new Error('undo')
        }),
      ).rejects.toThrow('undo')
      expect(await owners(dbOf(a))).toEqual(['a'])
    })
  })
})

/** All members, own and inherited, but those of every object. */
function membersOf(object: object): string[] {
  return [...Object.getOwnPropertyNames(object), ...Object.getOwnPropertyNames(Object.getPrototypeOf(object))].sort()
}

/** Every object that can be reached over properties, up to built-in prototypes. */
function reachable(roots: readonly object[]): Set<object> {
  const seen = new Set<object>()
  const queue: unknown[] = [...roots]
  while (queue.length > 0 && seen.size < 100_000) {
    const next = queue.pop()
    if ((typeof next !== 'object' && typeof next !== 'function') || next === null || seen.has(next)) continue
    seen.add(next)
    for (const key of Reflect.ownKeys(next)) {
      const descriptor = Reflect.getOwnPropertyDescriptor(next, key)
      if (descriptor !== undefined && 'value' in descriptor) queue.push(descriptor.value)
    }
    queue.push(Object.getPrototypeOf(next))
  }
  return seen
}

/** A function that waits until `count` callers are in it. */
function barrier(count: number): () => Promise<void> {
  let open = () => {}
  const all = new Promise<void>((resolve) => (open = resolve))
  let here = 0
  return () => {
    if (++here === count) open()
    return all
  }
}
