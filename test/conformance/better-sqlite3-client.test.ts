import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { enterContext } from '../../src/context.ts'
import type { Scope } from '../../src/contracts/isolation.ts'
import type { SyncClient, SyncStatement } from '../../src/dialects/sqlite/drivers/better-sqlite3-client.ts'
import { contextOf, guardOf } from '../attack/cell-context.ts'
import { describeWith } from '../servers/suite.ts'
import { clientOf, insert, TABLE, textsOf, twoTenants } from '../support/better-sqlite3.ts'
import { codeNow } from '../support/errors.ts'
import { openBetterSqlite3, type SqliteServer } from '../support/sqlite.ts'

const REFUSED = 'TENANCY_ERR_STATEMENT_REFUSED'
const MISMATCH = 'TENANCY_ERR_TENANT_MISMATCH'

describeWith(['better-sqlite3'], 'a tenant’s client of better-sqlite3', () => {
  describe.each(['database', 'prefix'] as const)('under %s', (strategy) => {
    let files: SqliteServer
    let a: Scope
    let b: Scope
    let [clientA, clientB]: SyncClient[] = []
    beforeAll(async () => {
      files = await openBetterSqlite3()
      ;[a, b] = await twoTenants(files, strategy)
      clientA = clientOf(files, a, guardOf(a))
      clientB = clientOf(files, b, guardOf(b))
    })
    afterAll(() => files.close())
    beforeEach(() => {
      for (const [client, name] of [
        [clientA, 'a'],
        [clientB, 'b'],
      ] as const) {
        client?.prepare(`delete from ${TABLE}`).run()
        insert(client as SyncClient, `of ${name}`)
      }
    })
    const as = <T>(scope: Scope, work: () => T): T => enterContext(contextOf(scope), work)
    const ofA = () => clientA as SyncClient
    const ofB = () => clientB as SyncClient

    it('has what Drizzle calls, and nothing else can be reached', () => {
      const statement = ofA().prepare('select 1')
      const transaction = ofA().transaction(() => 1)
      expect(Object.keys(ofA()).sort()).toEqual(['prepare', 'transaction'])
      for (const one of [statement, statement.raw()]) {
        const { constructor: _, ...members } = Object.getOwnPropertyDescriptors(Object.getPrototypeOf(one))
        expect(Object.keys(members).sort()).toEqual(['all', 'get', 'raw', 'run'])
        expect(Reflect.ownKeys(one)).toEqual([])
        expect(() => Object.assign(Object.getPrototypeOf(one), { all: () => [] })).toThrow(TypeError)
      }
      expect(Object.keys(transaction).sort()).toEqual(['deferred', 'exclusive', 'immediate'])
      const seen = reachable([
        ofA(),
        statement,
        statement.raw(),
        transaction,
        statement.all(),
        ofA().prepare(`delete from ${TABLE}`).run(),
      ])
      for (const one of seen) {
        for (const name of ['iterate', 'database', 'source', 'exec', 'pragma', 'backup', 'serialize', 'loadExtension'])
          expect(Reflect.has(one, name), name).toBe(false)
      }
      for (const one of [ofA(), statement, statement.raw(), transaction]) expect(Object.isFrozen(one)).toBe(true)
    })

    it('refuses what is not about rows, when it is prepared', () => {
      for (const text of [
        `attach '${files.mainFile}.registry' as r`,
        'detach main',
        'pragma query_only = off',
        'pragma table_list',
        'begin',
        'begin immediate',
        'commit',
        'rollback',
        'savepoint x',
        'release x',
        'vacuum',
        `vacuum into '/tmp/x'`,
        'create table x (id integer)',
        'create temp table x (id integer)',
        'drop table notes',
        'reindex',
        'analyze',
        `select load_extension('x')`,
        `select 1; select 2`,
        `delete from ${TABLE}; commit`,
        'explain pragma query_only = on',
        'select @name',
        'select 1\0',
        '',
        'select "readfile"(1)',
        'select * from "__drizzle_migrations"',
      ]) {
        expect(
          codeNow(() => ofA().prepare(text)),
          text,
        ).toBe(REFUSED)
      }
      for (const text of [undefined, null, 1, {}, ['select 1'], new String('select 1')]) {
        expect(codeNow(() => ofA().prepare(text))).toBe(REFUSED)
      }
      expect(codeNow(() => ofA().transaction(1 as never))).toBe(REFUSED)
    })

    it('refuses parameters whose members the library would read', () => {
      const statement = ofA().prepare('select ? as a')
      for (const one of [{}, [1], { a: 1 }, new Date(), new Map(), Promise.resolve(1)]) {
        expect(codeNow(() => statement.all(one))).toBe(REFUSED)
      }
      expect(statement.all(new Uint8Array([1]))).toEqual([{ a: Buffer.from([1]) }])
      expect(statement.all(null)).toEqual([{ a: null }])
      expect(statement.all(5n)).toEqual([{ a: 5 }])
    })

    it('is refused in the context of another tenant: at prepare and at each use', () => {
      const prepared = as(a, () => ofA().prepare(`select text from ${TABLE}`))
      const written = as(a, () => ofA().prepare(`delete from ${TABLE}`))
      const raw = as(a, () => prepared.raw())
      const transaction = as(a, () => ofA().transaction(() => prepared.all()))
      as(b, () => {
        expect(codeNow(() => ofA().prepare('select 1'))).toBe(MISMATCH)
        expect(codeNow(() => ofA().transaction(() => 1))).toBe(MISMATCH)
        for (const statement of [prepared, raw] as SyncStatement[]) {
          for (const verb of ['all', 'get', 'run'] as const) expect(codeNow(() => statement[verb]())).toBe(MISMATCH)
        }
        expect(codeNow(() => written.run())).toBe(MISMATCH)
        for (const begin of [transaction, transaction.deferred, transaction.immediate, transaction.exclusive]) {
          expect(codeNow(() => begin())).toBe(MISMATCH)
        }
      })
      as(a, () => expect(transaction()).toEqual([{ text: 'of a' }]))
      expect(prepared.all()).toEqual([{ text: 'of a' }])
      expect(textsOf(ofB())).toEqual(['of b'])
    })

    it('a tenant that is no longer served: nothing is sent, and nothing under way lands', () => {
      let revoked = false
      const client = clientOf(files, a, () => {
        if (revoked) throw Object.assign(new Error('revoked'), { code: 'REVOKED' })
      })
      const statement = client.prepare(`select text from ${TABLE}`)
      const late = client.transaction(() => {
        insert(client, 'late')
        revoked = true
      })
      expect(codeNow(() => late())).toBe('REVOKED')
      expect(codeNow(() => statement.all())).toBe('REVOKED')
      expect(textsOf(ofA())).toEqual(['of a'])
    })

    it('rows come as objects and as arrays from one statement, also after a change of the table', async () => {
      const statement = ofA().prepare(`select * from ${TABLE} where text = ?`)
      expect(statement.raw().get('of a')).toEqual([expect.any(Number), 'of a'])
      expect(statement.get('of a')).toEqual({ id: expect.any(Number) as number, text: 'of a' })
      expect(statement.get('nothing')).toBeUndefined()
      const run = (text: string) =>
        files.server.inNamespace(a, (session) => session.run(files.server.parseDdl(text).render(a)))
      await run('ALTER TABLE notes ADD later integer')
      expect(statement.all('of a')).toMatchObject([{ text: 'of a', later: null }])
      await run('ALTER TABLE notes DROP COLUMN later')
      expect(statement.raw().all('of a')).toEqual([[expect.any(Number), 'of a']])
    })

    if (strategy !== 'prefix') return

    it('refuses what tells of others who share the file', () => {
      for (const text of [
        'select * from sqlite_schema',
        'select * from temp.sqlite_master',
        'select * from "__tenancy_rowid"',
        'insert into temp.__TENANCY_ROWID values (1)',
        "select * from 'dbstat'",
        'select last_insert_rowid()',
        'select changes()',
        `select * from ${b.namespace}__notes`,
        `select * from "${b.namespace.toUpperCase()}__notes"`,
      ]) {
        expect(
          codeNow(() => ofA().prepare(text)),
          text,
        ).toBe(REFUSED)
      }
    })

    it('a result tells of nobody else’s statement', () => {
      const add = (client: SyncClient, id: number) => client.prepare(`insert into ${TABLE} (id) values (?)`).run(id)
      const remove = (client: SyncClient) => client.prepare(`delete from ${TABLE}`).run()
      for (const client of [ofA(), ofB()]) remove(client)
      expect(add(ofA(), 4711)).toEqual({ changes: 1, lastInsertRowid: 4711 })
      expect(ofB().prepare(`update ${TABLE} set text = 'x'`).run()).toEqual({ changes: 0, lastInsertRowid: 0 })
      expect(ofB().transaction(() => remove(ofB()))()).toEqual({ changes: 0, lastInsertRowid: 0 })
      // The same number in both, one after the other.
      expect(add(ofB(), 4711)).toEqual({ changes: 1, lastInsertRowid: 4711 })
      expect(
        ofA().prepare(`insert into ${TABLE} (id) values (4711) on conflict do update set text = 'x'`).run(),
      ).toEqual({
        changes: 1,
        lastInsertRowid: 0,
      })
    })
  })
})

/** All that can be got at from these, without calling anything. */
function reachable(roots: readonly unknown[]): Set<object> {
  const seen = new Set<object>()
  const visit = (value: unknown): void => {
    if ((typeof value !== 'object' && typeof value !== 'function') || value === null || seen.has(value)) return
    if (isBuiltIn(value)) return
    seen.add(value)
    for (const key of Reflect.ownKeys(value)) {
      const descriptor = Reflect.getOwnPropertyDescriptor(value, key)
      for (const part of [descriptor?.value, descriptor?.get, descriptor?.set] as unknown[]) visit(part)
    }
    visit(Object.getPrototypeOf(value))
  }
  for (const root of roots) visit(root)
  return seen
}

function isBuiltIn(value: object): boolean {
  return [Object, Function, Array].some(({ prototype }) => value === prototype || value === prototype.constructor)
}
