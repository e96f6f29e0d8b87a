import type pg from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { DatabaseServer } from '../../src/contracts/dialect.ts'
import type { Scope } from '../../src/contracts/isolation.ts'
import { namespaceStrategy } from '../../src/isolation/namespace.ts'
import { rlsStrategy } from '../../src/isolation/rls.ts'
import { migrateNamespace } from '../../src/migrations/runner.ts'
import { migrationOf } from '../matrix/suite.ts'
import type { TestDatabase } from '../servers/database.ts'
import { describeWith } from '../servers/suite.ts'
import { baselineDatabase, open, placedScope, sharedSchemas, testServer } from '../support/database.ts'

/** What a foreign key changes, PostgreSQL changes with the rights of the owner: that is the admin role of all tenants. */
const schemaOfShop = [
  'CREATE TABLE customers (id int PRIMARY KEY)',
  'CREATE TABLE settings (value text)',
  'CREATE TABLE audit (what text)',
  'CREATE TABLE orders (id int PRIMARY KEY, customer_id int REFERENCES customers(id) ON DELETE CASCADE)',
  'CREATE TABLE lines (id int PRIMARY KEY, customer_id int REFERENCES customers(id) ON DELETE SET NULL, note text)',
  `CREATE FUNCTION gone() RETURNS trigger LANGUAGE plpgsql AS $$ begin insert into audit select value from settings; return old; end $$`,
  'CREATE TRIGGER gone BEFORE DELETE ON orders FOR EACH ROW EXECUTE FUNCTION gone()',
  'CREATE TRIGGER gone_after AFTER DELETE ON orders FOR EACH ROW EXECUTE FUNCTION gone()',
  `CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS $$ begin new.note := (select value from settings); return new; end $$`,
  'CREATE TRIGGER noted BEFORE UPDATE ON lines FOR EACH ROW EXECUTE FUNCTION noted()',
  `CREATE FUNCTION fits() RETURNS boolean LANGUAGE sql AS $$ select not exists (select from settings where value = 'of b') $$`,
  'ALTER TABLE lines ADD CONSTRAINT fits CHECK (fits())',
]

describe.each(['postgres15', 'postgres18'] as const)('%s', (version) => {
  describeWith([version], 'code that a foreign key runs', (servers) => {
    it.each([
      ['schema', {}],
      ['schema', { tenantRoles: true }],
      ['schema', { schemaScoping: 'qualified' as const }],
    ] as const)('%s %j: looks into no schema that a tenant put on the path', async (strategy, options) => {
      const database = await baselineDatabase(servers[version].url, {
        tenantRoles: 'tenantRoles' in options,
        qualified: 'schemaScoping' in options,
      })
      const server = testServer(database, { poolSize: 1, shared: { ...sharedSchemas, ...options } })
      try {
        await server.open()
        const scopes = [placedScope(namespaceStrategy(strategy)), placedScope(namespaceStrategy(strategy))] as const
        const tables = scopes.map(
          ({ namespace }) =>
            (name: string) =>
              `"${namespace}".${name}`,
        )
        for (const [i, scope] of scopes.entries()) {
          await migrateNamespace({ server, scope, migrations: [migrationOf(schemaOfShop)] })
          const table = tables[i] as (name: string) => string
          await poolOf(server, scope).query(`insert into ${table('settings')} values ('of ${'ab'[i]}')`)
        }
        const [a, b] = scopes
        const [ofA, ofB] = tables as [(name: string) => string, (name: string) => string]
        for (const table of ['customers (id)', 'orders (id, customer_id)', 'lines (id, customer_id)'])
          await poolOf(server, a).query(`insert into ${ofA(table)} values (1${table.includes(',') ? ', 1' : ''})`)

        const connection = await poolOf(server, a).connect()
        await connection.query('begin')
        await connection.query(`set local search_path to "${b.namespace}"`)
        await connection.query(`delete from ${ofA('customers')}`)
        await connection.query('commit')
        connection.release()

        const rows = async (scope: Scope, from: string) =>
          (await poolOf(server, scope).query(`select * from ${from}`)).rows
        expect(await rows(a, ofA('lines'))).toEqual([{ id: 1, customer_id: null, note: 'of a' }])
        expect(await rows(a, ofA('audit'))).toEqual([{ what: 'of a' }, { what: 'of a' }])
        expect(await rows(b, ofB('audit'))).toEqual([])
      } finally {
        await server.close()
        await database.drop()
      }
    })

    describe('under row policies', () => {
      let database: TestDatabase
      let server: DatabaseServer
      beforeAll(async () => {
        database = await baselineDatabase(servers[version].url)
        server = testServer(database, { strategies: ['rls'] })
        await server.open()
      })
      afterAll(async () => {
        await server?.close()
        await database?.drop()
      })
      const migrate = (scope: Scope, statements: readonly string[]) =>
        migrateNamespace({ server, scope, migrations: [migrationOf(statements)] })
      const T = 'tenant_id uuid NOT NULL'
      const base = (action: string) => [
        `CREATE TABLE customers (${T}, id int, PRIMARY KEY (tenant_id, id))`,
        `CREATE TABLE audit (${T}, what text)`,
        `CREATE TABLE orders (${T}, id int, customer_id int, note text, PRIMARY KEY (tenant_id, id),
           CONSTRAINT to_customer FOREIGN KEY (tenant_id, customer_id) REFERENCES customers (tenant_id, id) ${action})`,
        `CREATE FUNCTION counts() RETURNS trigger LANGUAGE plpgsql AS $$ begin
           insert into audit (what) select note from orders; return case when tg_op = 'DELETE' then old else new end; end $$`,
      ]
      const on = (when: string) => `CREATE TRIGGER counting ${when} ON orders FOR EACH ROW EXECUTE FUNCTION counts()`
      const check = (volatility: string) => [
        `CREATE FUNCTION quota() RETURNS bigint LANGUAGE plpgsql ${volatility} AS $$ begin return (select count(*) from audit); end $$`,
        'ALTER TABLE orders ADD CONSTRAINT quota CHECK (quota() < 3)',
      ]

      it.each([
        ['a BEFORE trigger on what a key deletes', 'ON DELETE CASCADE', [on('BEFORE DELETE')]],
        ['a BEFORE trigger on what a key updates', 'ON UPDATE CASCADE', [on('BEFORE UPDATE')]],
        ['one for several events', 'ON DELETE CASCADE', [on('BEFORE INSERT OR DELETE')]],
        ['a function in a CHECK', 'ON UPDATE CASCADE', check('')],
        [
          'a function in a domain',
          'ON UPDATE CASCADE',
          [
            `CREATE FUNCTION short(v text) RETURNS boolean LANGUAGE plpgsql AS $$ begin return (select count(*) from audit) < 3; end $$`,
            'CREATE DOMAIN brief AS text CHECK (short(VALUE))',
            'ALTER TABLE orders ADD COLUMN extra brief',
          ],
        ],
      ] as const)('refuses %s: it would see the rows of all tenants', async (_, action, further) => {
        await expect(migrate(placedScope(rlsStrategy()), [...base(action), ...further])).rejects.toMatchObject({
          code: 'TENANCY_ERR_RLS_UNPROTECTABLE',
          message: expect.stringMatching(
            /runs past the policies when the foreign key to_customer changes rows of orders/,
          ) as string,
        })
      })

      it('takes code that no key runs, that reads no table, or that comes after', async () => {
        const [a, b] = [placedScope(rlsStrategy()), placedScope(rlsStrategy())]
        const further = [
          on('AFTER DELETE'),
          `CREATE FUNCTION touched() RETURNS trigger LANGUAGE plpgsql AS $$ begin new.note := 'touched'; return new; end $$`,
          'CREATE TRIGGER touching BEFORE INSERT OR UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION touched()',
          ...check('IMMUTABLE'),
        ]
        for (const scope of [a, b]) {
          await migrate(scope, [...base('ON DELETE CASCADE'), ...further])
          const pool = poolOf(server, scope)
          await pool.query('insert into customers (id) values (1)')
          await pool.query('insert into orders (id, customer_id) values (1, 1), (2, null)')
        }
        await poolOf(server, a).query('delete from customers')
        // What is left of its own, and nothing of the other tenant.
        expect((await poolOf(server, a).query('select what from audit')).rows).toEqual([{ what: 'touched' }])
        expect((await poolOf(server, b).query('select what from audit')).rows).toEqual([])
        expect((await poolOf(server, b).query('select id from orders')).rows).toHaveLength(2)
      })
    })
  })
})

function poolOf(server: DatabaseServer, scope: Scope): pg.Pool {
  return server.client(scope, open) as pg.Pool
}
