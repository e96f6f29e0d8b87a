import type { Client } from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { DatabaseServer } from '../../src/contracts/dialect.ts'
import { createPgliteServer } from '../../src/dialects/postgres/drivers/pglite-server.ts'
import { verifyRls } from '../../src/dialects/postgres/rls/verify.ts'
import { giveRights, ownRights } from '../../src/dialects/postgres/schema-rights.ts'
import { rlsStrategy } from '../../src/isolation/rls.ts'
import { migrateNamespace } from '../../src/migrations/runner.ts'
import type { TestDatabase } from '../servers/database.ts'
import { describeWith } from '../servers/suite.ts'
import { asSuperuser, baselineDatabase, open, placedScope, sharedSchemas } from '../support/database.ts'
import { codeOf, migrationOf, queryOver, rlsBed, type RlsBed } from '../support/rls.ts'

/** An application that counted its customers, or named them, before it had this library. */
const tables = (type: string) => [
  `create table customers (tenant_id ${type} not null, id int, name text, primary key (tenant_id, id))`,
  `create table orders (tenant_id ${type} not null, id serial, customer int, primary key (tenant_id, id), foreign key (tenant_id, customer) references customers (tenant_id, id))`,
]

/** Keys of two tenants, and one that the type cannot hold. */
const types: Record<string, { keys: [string, string]; misfits: string[] }> = {
  integer: { keys: ['7', '42'], misfits: ['acme', '99999999999', '042', '+42', '4.2'] },
  bigint: { keys: ['-7', '9007199254740993'], misfits: ['acme', '99999999999999999999', '0042'] },
  text: { keys: ['acme', 'Acme'], misfits: [] },
  'varchar(8)': { keys: ['00042', "O'Neil\\"], misfits: ['nine-long'] },
  uuid: {
    keys: ['aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeee01', 'aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeee02'],
    misfits: ['42', 'AAAAAAAA-BBBB-4CCC-8DDD-EEEEEEEEEE03'],
  },
}

/** What must hold whatever the type and the driver. */
async function keepsApart({ a, b, rows }: Pick<RlsBed, 'a' | 'b' | 'rows'>, keys: readonly [string, string]) {
  for (const [tenant, who] of [
    [a, 'a'],
    [b, 'b'],
  ] as const) {
    await rows(tenant, `insert into customers (id, name) values (1, '${who}'), (2, '${who}')`)
    await rows(tenant, 'insert into orders (customer) values (1), (2)')
  }
  const literal = (key: string) => `E'${key.replaceAll('\\', '\\\\').replaceAll("'", "''")}'`
  for (const [tenant, who, key, other] of [
    [a, 'a', keys[0], keys[1]],
    [b, 'b', keys[1], keys[0]],
  ] as const) {
    expect(await rows(tenant, 'select distinct tenant_id::text as key, name from customers')).toEqual([
      { key, name: who },
    ])
    expect(await rows(tenant, 'select from customers c join orders o on o.customer = c.id')).toHaveLength(2)
    expect(await rows(tenant, `select from customers where tenant_id = ${literal(other)}`)).toEqual([])
    expect(
      await rows(tenant, `update customers set name = 'x' where tenant_id = ${literal(other)} returning 1`),
    ).toEqual([])
    const stolen = `insert into customers values (${literal(other)}, 9, '${who}')`
    expect(await codeOf(rows(tenant, stolen))).toBe('42501')
    expect(await codeOf(rows(tenant, `update customers set tenant_id = ${literal(other)} where id = 1`))).toBe('42501')
    const nobody = { ...tenant, settings: {} }
    expect(await rows(nobody, 'select from customers')).toEqual([])
    expect(await codeOf(rows(nobody, stolen))).toBe('42501')
  }
}

for (const name of ['postgres15', 'postgres18'] as const) {
  describeWith([name], `row keys on ${name}`, (servers) => {
    let database: TestDatabase
    beforeAll(async () => {
      database = await baselineDatabase(servers[name].url)
    })
    afterAll(() => database?.drop())

    const bedOf = (statements: readonly string[], keys: readonly string[]) => rlsBed(database, statements, { keys })

    for (const [type, { keys, misfits }] of Object.entries(types)) {
      describe(`a tenant column of type ${type}`, () => {
        it('keeps tenants apart, is proven by verify, and gives back exactly the rows of one to destroy', async () => {
          const bed = await bedOf(tables(type), keys)
          const { server, shared, a, b, rows } = bed
          await migrateNamespace({ server, scope: b, migrations: [] })
          await keepsApart(bed, keys)
          for (const [tenant, key] of [
            [a, keys[0]],
            [b, keys[1]],
          ] as const) {
            const transaction = server.lazyTransaction(tenant, open)
            const seen = await (transaction.client as Client).query('select distinct tenant_id::text from customers')
            expect(seen.rows).toEqual([{ tenant_id: key }])
            await transaction.commit()
          }
          const report = await verifyRls(server, shared)
          expect(report.checks.filter(({ ok }) => !ok)).toEqual([])
          // With the canary in place too.
          await migrateNamespace({ server, scope: a, migrations: [] })
          expect(await server.destroy(a)).toEqual({ objects: 0, rows: 4 })
          expect(await rows(a, 'select from customers')).toEqual([])
          expect(await rows(b, 'select from orders')).toHaveLength(2)
          expect(await server.destroy(b)).toEqual({ objects: 0, rows: 4 })
          await server.close()
        })

        it.each(misfits)('refuses a tenant with the key %j, before its first request', async (key) => {
          const { server, schema } = await bedOf(tables(type), keys)
          const scope = placedScope(rlsStrategy(), key)
          await expect(migrateNamespace({ server, scope, migrations: [] })).rejects.toMatchObject({
            code: 'TENANCY_ERR_TENANT_INVALID',
            message: expect.stringMatching(
              new RegExp(
                `^Invalid tenant: its row key is "${key.replace(/[+.]/g, '\\$&')}", but the column tenant_id of the table customers is `,
              ),
            ) as string,
          })
          expect(await server.admin.query(`select from ${schema}.customers`)).toEqual([])
          await server.close()
        })
      })
    }

    it('refuses the migration that brings a column which does not fit, and nothing of it stays', async () => {
      const { server, schema, migrate } = await bedOf(tables('text'), ['acme'])
      const run = migrate(migrationOf('create table counted (tenant_id integer, id int)'))
      await expect(run).rejects.toMatchObject({
        code: 'TENANCY_ERR_TENANT_INVALID',
        message: expect.stringContaining('table counted is integer and cannot hold it') as string,
      })
      expect(await server.admin.query(`select to_regclass('${schema}.counted') as made`)).toEqual([{ made: null }])
      await server.close()
    })

    it('fails closed when a column is changed to a type that the key is not of', async () => {
      const { server, schema, a, b, rows } = await bedOf(tables('text'), ['acme', '42'])
      await rows(b, 'insert into customers (id) values (1)')
      await server.admin.query(`create table ${schema}.late (tenant_id integer, id int)`)
      await server.admin.query(`insert into ${schema}.late values (42, 1)`)
      await migrateNamespace({ server, scope: b, migrations: [] })
      expect(await codeOf(rows(a, 'select from late'))).toBe('22P02')
      expect(await rows(b, 'select from late')).toHaveLength(1)
      await server.close()
    })

    it('[W10] refuses a collation under which two tenants are one', async () => {
      await asSuperuser(database, (client) =>
        client.query(
          `create schema if not exists extensions; create collation if not exists extensions.folded (provider = icu, locale = 'und-u-ks-level2', deterministic = false); grant usage on schema extensions to public`,
        ),
      )
      const bed = bedOf(['create table notes (tenant_id text collate folded, id int)'], ['acme', 'Acme'])
      await expect(bed).rejects.toMatchObject({
        code: 'TENANCY_ERR_RLS_UNPROTECTABLE',
        message: expect.stringContaining('tenant_id of the table notes takes different tenants for the same') as string,
      })
    })

    describe('the table of who has which key', () => {
      const notes = ['create table notes (tenant_id integer, id int)']
      const refused = 'TENANCY_ERR_TENANT_EXISTS'

      it('refuses the key of another tenant, which the policy alone would give its rows', async () => {
        const { server, a, b, rows } = await bedOf(notes, ['42', '42'])
        await rows(a, 'insert into notes (id) values (1)')
        // Control.
        expect(await rows(b, 'select id from notes')).toEqual([{ id: 1 }])
        expect(await codeOf(migrateNamespace({ server, scope: b, migrations: [] }))).toBe(refused)
        expect(await codeOf(server.destroy(b))).toBe('TENANCY_ERR_DESTROY_INCOMPLETE')
        await migrateNamespace({ server, scope: a, migrations: [] })
        expect(await server.destroy(a)).toEqual({ objects: 0, rows: 1 })
        expect(await codeOf(migrateNamespace({ server, scope: b, migrations: [] }))).toBe(refused)
        await migrateNamespace({ server, scope: a, migrations: [] })
        await server.close()
      })

      it('refuses a key of the same canonical form, with all that its migrations did', async () => {
        const { server, schema, b } = await bedOf(tables('text'), ['42', '042'])
        const migrations = [migrationOf('create table later (tenant_id text, id int)')]
        expect(await codeOf(migrateNamespace({ server, scope: b, migrations }))).toBe(refused)
        expect(await server.admin.query(`select to_regclass('${schema}.later') as made`)).toEqual([{ made: null }])
        await server.close()
      })

      it('is out of reach of the SQL of tenants, also after somebody granted them every table', async () => {
        const { server, schema, shared, a, migrate, rows } = await bedOf(notes, ['42'])
        const table = `${schema}.__tenancy_row_keys`
        const grants = [
          '',
          `grant all on all tables in schema ${schema} to ${database.appRole}, public`,
          // Made again, where what is made is everybody's.
          `drop table ${table}; alter default privileges in schema ${schema} grant all on tables to public, ${database.appRole}`,
        ]
        for (const grant of grants) {
          await server.admin.query(grant)
          await migrate()
          for (const text of [
            `select * from ${table}`,
            'select * from __tenancy_row_keys',
            `insert into ${table} values ('43', '${a.tenantId}')`,
            `update ${table} set row_key = '43'`,
            `delete from ${table}`,
            `truncate ${table}`,
            `drop table ${table}`,
          ]) {
            expect([text, await codeOf(rows(a, text))]).toEqual([text, '42501'])
          }
        }
        expect((await verifyRls(server, shared)).warnings.filter((text) => text.includes('row_key'))).toEqual([])
        expect(await server.admin.query(`select row_key, tenant from ${table}`)).toEqual([
          { row_key: '42', tenant: a.tenantId },
        ])
        await server.close()
      })

      it('is not given to a role that serves later', async () => {
        const { server, schema } = await bedOf(notes, ['42'])
        const role = `later_${schema}`
        await asSuperuser(database, async (client) => {
          await client.query(`begin; create role ${role}`)
          const query = async (text: string, values?: unknown[]) => (await client.query(text, values)).rows as never
          await giveRights(query, schema, role, ownRights)
          const { rows } = await client.query(
            `select has_table_privilege('${role}', '${schema}.notes', 'SELECT') as notes,
               has_table_privilege('${role}', '${schema}.__tenancy_row_keys', 'SELECT, INSERT, UPDATE, DELETE') as keys`,
          )
          expect(rows).toEqual([{ notes: true, keys: false }])
          await client.query('rollback')
        })
        await server.close()
      })

      it('is never one that somebody else made', async () => {
        const made = bedOf([...notes, 'create table __tenancy_row_keys (row_key text, tenant uuid)'], ['42'])
        expect(await codeOf(made)).toBe('TENANCY_ERR_NAMESPACE_EXISTS')
      })
    })
  })
}

describe('row keys on PGlite', () => {
  let server: DatabaseServer
  beforeAll(async () => {
    server = createPgliteServer({
      folder: undefined,
      registrySchema: 'tenancy',
      shared: sharedSchemas,
      poolTimeout: 30,
      onStatement: undefined,
    })
    await server.open()
  })
  afterAll(() => server?.close())

  it('keeps tenants apart by an integer, and refuses what is none', async () => {
    const keys = types['integer']?.keys ?? ['', '']
    const [a, b] = [placedScope(rlsStrategy(), keys[0]), placedScope(rlsStrategy(), keys[1])]
    const migrations = [migrationOf(...tables('integer'))]
    for (const scope of [a, b]) await migrateNamespace({ server, scope, migrations })
    await keepsApart({ a, b, rows: queryOver(server) }, keys)
    expect((await verifyRls(server, sharedSchemas)).checks.filter(({ ok }) => !ok)).toEqual([])
    const misfit = placedScope(rlsStrategy(), 'acme')
    await expect(migrateNamespace({ server, scope: misfit, migrations })).rejects.toMatchObject({
      code: 'TENANCY_ERR_TENANT_INVALID',
    })
    const [rows, again] = [queryOver(server), placedScope(rlsStrategy(), keys[0])]
    const taken = () => codeOf(migrateNamespace({ server, scope: again, migrations }))
    expect(await taken()).toBe('TENANCY_ERR_TENANT_EXISTS')
    expect(await codeOf(server.destroy(again))).toBe('TENANCY_ERR_DESTROY_INCOMPLETE')
    expect(await codeOf(rows(a, 'select * from __tenancy_row_keys'))).toBe('42501')
    expect(await codeOf(rows(a, 'delete from rls.__tenancy_row_keys'))).toBe('42501')
    await migrateNamespace({ server, scope: a, migrations })
    expect(await server.destroy(a)).toEqual({ objects: 0, rows: 4 })
    expect(await rows(b, 'select from customers')).toHaveLength(2)
    expect(await taken()).toBe('TENANCY_ERR_TENANT_EXISTS')
  })
})
