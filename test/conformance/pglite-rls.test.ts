import { sql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/pglite'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { DatabaseServer } from '../../src/contracts/dialect.ts'
import type { Scope } from '../../src/contracts/isolation.ts'
import { createPgliteServer } from '../../src/dialects/postgres/drivers/pglite-server.ts'
import { verifyRls } from '../../src/dialects/postgres/rls/verify.ts'
import { namespaceStrategy } from '../../src/isolation/namespace.ts'
import { rlsStrategy } from '../../src/isolation/rls.ts'
import { migrateNamespace } from '../../src/migrations/runner.ts'
import { open, placedScope, sharedSchemas } from '../support/database.ts'
import { codeOf, ITEMS, migrationOf } from '../support/rls.ts'

describe('row-level security on PGlite', () => {
  let server: DatabaseServer
  const [a, b] = [placedScope(rlsStrategy()), placedScope(rlsStrategy())]
  const migrations = [
    migrationOf(
      ITEMS,
      'create table parts (tenant_id uuid not null, id serial, item int, primary key (tenant_id, id), foreign key (tenant_id, item) references items (tenant_id, id))',
      'create view all_items as select * from items',
    ),
  ]
  const over = (tenant: Scope) => drizzle({ client: server.client(tenant, open) as never })
  const rows = async (tenant: Scope, text: string) => (await over(tenant).execute(sql.raw(text))).rows
  const failed = async () =>
    (await verifyRls(server, sharedSchemas)).checks.filter(({ ok }) => !ok).map((check) => check.name)

  beforeAll(async () => {
    server = createPgliteServer({
      folder: undefined,
      registrySchema: 'tenancy',
      shared: sharedSchemas,
      poolTimeout: 30,
      onStatement: undefined,
    })
    await server.open()
    for (const scope of [a, b]) await migrateNamespace({ server, scope, migrations })
    for (const [tenant, owner] of [
      [a, 'a'],
      [b, 'b'],
    ] as const) {
      await rows(tenant, `insert into items (id, owner) values (1, '${owner}'), (2, '${owner}')`)
    }
  })
  afterAll(() => server?.close())

  it('[W10] [W29] shows, changes and takes only the rows of the tenant', async () => {
    expect(
      await rows(a, 'select x.owner from items x join items y on x.id = y.id join all_items z on z.id = y.id'),
    ).toEqual([{ owner: 'a' }, { owner: 'a' }])
    await rows(a, `update items set owner = 'changed'`)
    expect(await rows(b, 'select distinct owner from items')).toEqual([{ owner: 'b' }])
    await rows(a, `update items set owner = 'a'`)
    const other = `'${b.tenantId}'`
    for (const text of [
      `insert into items values (${other}, 7, 'a')`,
      `update items set tenant_id = ${other}`,
      `insert into items values (${other}, 1, 'a') on conflict (tenant_id, id) do update set owner = 'stolen'`,
      'truncate items',
      'alter table items disable row level security',
    ]) {
      expect(await codeOf(rows(a, text)), text).toBe('42501')
    }
    await rows(a, `insert into items (id, owner) values (3, 'a')`)
    expect(await codeOf(rows(b, 'insert into parts (item) values (3)'))).toBe('23503')
    await rows(a, 'delete from items where id = 3')
  })

  it('[W10] is empty without a tenant, and takes nothing', async () => {
    const nobody = { ...a, settings: {} }
    expect(await rows(nobody, 'select * from items')).toEqual([])
    expect(await rows(nobody, 'select * from all_items')).toEqual([])
    expect(await codeOf(rows(nobody, `insert into items (id) values (9)`))).toBe('42501')
  })

  it('[W19] holds in every transaction, after commits and rollbacks', async () => {
    for (const [tenant, owner] of [
      [a, 'a'],
      [b, 'b'],
      [a, 'a'],
    ] as const) {
      await over(tenant).transaction(async (tx) => {
        expect((await tx.execute(sql`select distinct owner from items`)).rows).toEqual([{ owner }])
      })
      await over(tenant)
        .transaction(async (tx) => {
          await tx.execute(sql`delete from items`)
          throw new TypeError('undo')
        })
        .catch(() => {})
      expect(await rows(tenant, 'select distinct owner from items')).toEqual([{ owner }])
    }
  })

  it('[W2] keeps a tenant with a schema and those with shared rows apart, both ways', async () => {
    const premium = placedScope(namespaceStrategy('schema'))
    await migrateNamespace({
      server,
      scope: premium,
      migrations: [migrationOf('create table items (id int primary key, owner text)')],
    })
    expect(await rows(premium, 'select * from items')).toEqual([])
    await rows(premium, `insert into items values (1, 'premium')`)
    expect(await rows(a, 'select distinct owner from items')).toEqual([{ owner: 'a' }])
    await server.destroy(premium)
    expect(await rows(a, 'select distinct owner from items')).toEqual([{ owner: 'a' }])
  })

  it('[W10] [W52] verify is green where it holds and red where it does not', async () => {
    expect(await failed()).toEqual([])
    await server.admin.query('alter table rls.items disable row level security')
    expect(await failed()).toEqual(['enabled', 'rows of the application'])
    await server.admin.query('alter table rls.__tenancy_canary disable row level security')
    expect(await failed()).toEqual(expect.arrayContaining(['another tenant: read', 'no tenant: delete']))
    await server.admin.query('alter role tenancy_app bypassrls')
    expect(await failed()).toContain('serving role')
    await server.admin.query('alter role tenancy_app nobypassrls')
    await migrateNamespace({ server, scope: a, migrations })
    expect(await failed()).toEqual([])
  })

  it('control: without the policies the same statements show everybody’s rows', async () => {
    await server.admin.query('alter table rls.items disable row level security')
    expect(await rows(a, 'select distinct owner from items order by 1')).toEqual([{ owner: 'a' }, { owner: 'b' }])
    await migrateNamespace({ server, scope: b, migrations })
    expect(await rows(a, 'select distinct owner from items')).toEqual([{ owner: 'a' }])
  })

  it('[W20] destroys exactly the rows of one tenant', async () => {
    await rows(a, 'insert into parts (item) values (1), (2)')
    await rows(b, 'insert into parts (item) values (1)')
    expect(await server.destroy(a)).toEqual({ objects: 0, rows: 4 })
    expect(await server.destroy(a)).toEqual({ objects: 0, rows: 0 })
    expect(await rows(b, 'select count(*)::int as n from items')).toEqual([{ n: 2 }])
    expect(await rows(b, 'select count(*)::int as n from parts')).toEqual([{ n: 1 }])
  })
})
