import { afterAll, beforeAll, expect, it } from 'vitest'
import type { DatabaseServer } from '../../src/contracts/dialect.ts'
import type { Scope } from '../../src/contracts/isolation.ts'
import { layoutOf } from '../../src/dialects/postgres/layout.ts'
import { namespaceStrategy } from '../../src/isolation/namespace.ts'
import type { TestDatabase } from '../servers/database.ts'
import { describeWith } from '../servers/suite.ts'
import { asSuperuser, baselineDatabase, placedScope, sharedSchemas, testServer } from '../support/database.ts'

/** What a tenant has, with every kind of object; `q` writes a name. */
const ddl = (q: (name: string) => string) => [
  `create type ${q('mood')} as enum ('ok')`,
  `create domain ${q('positive')} as int check (value > 0)`,
  `create table ${q('authors')} (id serial primary key, mood ${q('mood')}, age ${q('positive')})`,
  `create table ${q('books')} (id serial primary key, author_id int references ${q('authors')} (id))`,
  `alter table ${q('authors')} add favourite int references ${q('books')} (id)`,
  `create sequence ${q('counter')}`,
  `create view ${q('titles')} as select id from ${q('books')}`,
  `create view ${q('more_titles')} as select id from ${q('titles')}`,
  `create materialized view ${q('totals')} as select count(*) as n from ${q('books')}`,
]

for (const name of ['postgres15', 'postgres18'] as const) {
  describeWith([name], `destroy on ${name}`, (servers) => {
    let database: TestDatabase
    let server: DatabaseServer

    beforeAll(async () => {
      database = await baselineDatabase(servers[name].url)
      server = testServer(database)
      await server.open()
    })
    afterAll(async () => {
      await server?.close()
      await database?.drop()
    })

    /** A tenant with objects, and a function that writes its names. */
    const provisioned = async (strategy: 'schema' | 'prefix') => {
      const scope = placedScope(namespaceStrategy(strategy))
      const { schema, naming } = layoutOf(scope, sharedSchemas)
      const q = (object: string) => `"${schema}"."${naming.prefix}${object}"`
      await server.inNamespace(scope, async (session) => {
        await session.ensure()
        for (const statement of ddl(q)) await session.run(statement)
      })
      return { scope, q }
    }
    const left = async ({ namespace }: Scope) => {
      const rows = await server.admin.query<{ name: string }>(
        `select nspname::text as name from pg_namespace where nspname = $1
         union all select relname from pg_class where starts_with(relname::text, $1 || '__') or relnamespace = to_regnamespace($1)
         union all select typname from pg_type where starts_with(typname::text, $1 || '__') or typnamespace = to_regnamespace($1)`,
        [namespace],
      )
      return rows.map((row) => row.name)
    }

    for (const strategy of ['schema', 'prefix'] as const) {
      it(`[W7] removes all of a tenant and nothing of its neighbour: ${strategy}`, async () => {
        const a = await provisioned(strategy)
        const b = await provisioned(strategy)
        const before = await left(b.scope)
        expect(before.length).toBeGreaterThan(10)
        const report = await server.destroy(a.scope)
        expect(report.rows).toBe(0)
        expect(report.objects).toBeGreaterThanOrEqual(9)
        expect(await left(a.scope)).toEqual([])
        expect(await left(b.scope)).toEqual(before)
        expect(await server.destroy(a.scope)).toEqual({ objects: 0, rows: 0 })
      })

      it(`is stopped by an object of somebody else that leans on one of the tenant's: ${strategy}`, async () => {
        const a = await provisioned(strategy)
        await asSuperuser(database, async (client) => {
          await client.query('create schema if not exists reports')
          await client.query(`create view reports.all_books as select id from ${a.q('books')}`)
        })
        const before = await left(a.scope)
        await expect(server.destroy(a.scope)).rejects.toMatchObject({ code: 'TENANCY_ERR_DESTROY_INCOMPLETE' })
        expect(await left(a.scope)).toEqual(before)
        await asSuperuser(database, (client) => client.query('drop view reports.all_books'))
        await server.destroy(a.scope)
        expect(await left(a.scope)).toEqual([])
      })

      it(`[W4] does not touch a namespace of another tenant, and never adopts one: ${strategy}`, async () => {
        const a = await provisioned(strategy)
        const thief: Scope = { ...a.scope, tenantId: '00000000-0000-4000-8000-000000000000' }
        const taken = { code: 'TENANCY_ERR_NAMESPACE_EXISTS' }
        await expect(server.destroy(thief)).rejects.toMatchObject(taken)
        await expect(server.inNamespace(thief, (session) => session.ensure())).rejects.toMatchObject(taken)
        expect((await left(a.scope)).length).toBeGreaterThan(10)
        expect(await server.inNamespace(a.scope, (session) => session.ensure())).toBe(false)
      })

      it(`[W3] a failed attempt leaves nothing, and concurrent ones end with one namespace: ${strategy}`, async () => {
        const scope = placedScope(namespaceStrategy(strategy))
        const failing = server.inNamespace(scope, async (session) => {
          await session.ensure()
          await session.run('select 1/0')
        })
        await expect(failing).rejects.toThrow('division by zero')
        expect(await left(scope)).toEqual([])
        const six = Array.from({ length: 6 }, () => server.inNamespace(scope, (session) => session.ensure()))
        expect((await Promise.all(six)).filter(Boolean)).toHaveLength(1)
        await server.destroy(scope)
      })
    }

    it('keeps the ledgers out of reach of the serving role', async () => {
      for (const strategy of ['schema', 'prefix'] as const) {
        const { q } = await provisioned(strategy)
        const [rights] = await server.admin.query<{ ledger: boolean; table: boolean }>(
          `select has_table_privilege($1::name, $2, 'select, insert, update, delete') as ledger,
             has_table_privilege($1::name, $3, 'select') as table`,
          [database.appRole, q('__drizzle_migrations'), q('books')],
        )
        expect(rights).toEqual({ ledger: false, table: true })
      }
    })

    it('does not take a schema that is there for the shared one', async () => {
      const other = testServer(database)
      await other.open()
      await other.admin.query('create schema mine')
      const scope = placedScope(namespaceStrategy('prefix'))
      const own = testServer(database, { shared: { ...sharedSchemas, prefixSchema: 'mine' } })
      await own.open()
      await expect(own.inNamespace(scope, (session) => session.ensure())).rejects.toMatchObject({
        code: 'TENANCY_ERR_NAMESPACE_EXISTS',
      })
      await Promise.all([own.close(), other.close()])
    })
  })
}
