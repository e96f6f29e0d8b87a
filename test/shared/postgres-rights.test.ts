import { eq, sql } from 'drizzle-orm'
import { Client } from 'pg'
import { afterEach, expect, it } from 'vitest'
import { verifyRls } from '../../src/dialects/postgres/rls/verify.ts'
import type { Scope } from '../../src/contracts/isolation.ts'
import { namespaceStrategy } from '../../src/isolation/namespace.ts'
import { rlsStrategy } from '../../src/isolation/rls.ts'
import { migrateNamespace } from '../../src/migrations/runner.ts'
import { adoptTables, shareTables } from '../../src/sql/adopt.ts'
import { describeWith } from '../servers/suite.ts'
import { open, placedScope, sharedSchemas } from '../support/database.ts'
import { codeOf } from '../support/errors.ts'
import { migrationOf } from '../matrix/suite.ts'
import type { OpenSharedCell } from './cell.ts'
import { pgSharedCell } from './postgres-cells.ts'
import { migrateShared } from './suite.ts'

describeWith(['postgres18'], 'rights on shared tables', ({ postgres18 }) => {
  let opened: OpenSharedCell | undefined
  afterEach(async () => {
    await opened?.close()
    opened = undefined
  })

  const start = async (strategy = namespaceStrategy('schema')): Promise<OpenSharedCell> => {
    opened = await pgSharedCell('postgres18', postgres18.url, strategy).open()
    shareTables(opened.model, ['plans', 'tags'], 'shared')
    adoptTables(opened.model)
    await migrateShared(opened.server, opened.sharedStatements)
    return opened
  }
  const provision = async ({ server, statements }: OpenSharedCell, scope: Scope, more: readonly string[] = []) => {
    await migrateNamespace({ server, scope, migrations: [migrationOf([...statements, ...more])] })
    return scope
  }
  const role = async ({ server, drizzle }: OpenSharedCell, scope: Scope) => {
    const { rows } = await drizzle(server.client(scope, open)).execute<{ role: string }>(
      sql`select current_user as role`,
    )
    return rows[0]?.role ?? ''
  }

  it('a temporary table of the same name is not found in its place', async () => {
    const cell = await start()
    const scope = await provision(cell, placedScope(namespaceStrategy('schema')))
    const db = cell.drizzle(cell.server.client(scope, open))
    const serving = await role(cell, scope)
    await cell.asOwner(
      `do $$ begin execute format('grant temporary on database %I to "${serving}"', current_database()); end $$`,
    )
    await db.transaction(async (tx) => {
      await tx.execute(sql.raw(`create temp table plans (id int, name text)`))
      await tx.execute(sql.raw(`insert into plans values (1, 'fake')`))
      expect(await tx.select().from(cell.model.plans).where(eq(cell.model.plans.id, 1))).toEqual([
        { id: 1, name: 'free' },
      ])
    })
  })

  it('rights that somebody gave are taken back by the next start; what is right stays untouched', async () => {
    const cell = await start()
    const scope = await provision(cell, placedScope(namespaceStrategy('schema')))
    const serving = await role(cell, scope)
    await cell.asOwner(
      `grant insert, truncate on shared.plans to "${serving}"`,
      `grant update (name) on shared.plans to "${serving}"`,
      `grant all on shared.internal, shared.__drizzle_migrations, shared.tags to public`,
      `grant update on all sequences in schema shared to "${serving}"`,
    )
    await migrateShared(cell.server, cell.sharedStatements)
    const rights = (names: string) => `select relname as name, array(select p from unnest(array[
        'SELECT','INSERT','UPDATE','DELETE','TRUNCATE','REFERENCES','TRIGGER','MAINTAIN']) p
      where has_table_privilege('${serving}', c.oid, p) or (p in ('SELECT','INSERT','UPDATE') and has_any_column_privilege('${serving}', c.oid, p))) as rights
      from pg_class c where relnamespace = 'shared'::regnamespace and relkind in (${names}) order by 1`
    expect(await cell.asOwner(rights(`'r'`))).toEqual([
      { name: '__drizzle_migrations', rights: [] },
      { name: 'internal', rights: [] },
      { name: 'plans', rights: ['SELECT'] },
      { name: 'tags', rights: ['SELECT', 'INSERT', 'UPDATE', 'DELETE'] },
    ])
    const state = `select xmin::text, relname, relacl::text from pg_class where relnamespace = 'shared'::regnamespace order by 2`
    const before = await cell.asOwner(state)
    await migrateShared(cell.server, cell.sharedStatements)
    expect(await cell.asOwner(state)).toEqual(before)
  })

  it.each([
    [
      'a role that it is a member of',
      (serving: string) => [
        `create role "writers_${serving}"`,
        `grant insert on shared.plans to "writers_${serving}"`,
        `grant "writers_${serving}" to "${serving}"`,
      ],
    ],
    [
      'its ownership',
      (serving: string) => [
        `grant create on schema shared to "${serving}"`,
        `alter table shared.plans owner to "${serving}"`,
      ],
    ],
  ])('a right that comes by %s stops the start', async (_way, statements) => {
    const cell = await start()
    const serving = await role(cell, await provision(cell, placedScope(namespaceStrategy('schema'))))
    await cell.asOwner(...statements(serving))
    expect(await codeOf(() => migrateShared(cell.server, cell.sharedStatements))).toBe('TENANCY_ERR_SHARED_TABLES')
    await cell.asOwner(`reassign owned by "${serving}" to current_user`)
    await cell.asOwner(`drop owned by "writers_${serving}"`, `drop role "writers_${serving}"`).catch(() => {})
  })

  it('a reference that only holds is allowed to a writable table, one that cascades is found when it becomes one', async () => {
    const cell = await start()
    const scope = placedScope(namespaceStrategy('schema'))
    await provision(cell, scope, [
      'CREATE TABLE "labelled" ("id" integer, "tag_id" integer REFERENCES "public"."tags"("id") ON DELETE RESTRICT)',
      'CREATE TABLE "planned" ("id" integer, "plan_id" integer REFERENCES "shared"."plans"("id") ON DELETE CASCADE)',
    ])
    const server = await cell.another({ sharedTables: { writable: ['plans'] } })
    try {
      await expect(migrateShared(server, cell.sharedStatements)).rejects.toMatchObject({
        code: 'TENANCY_ERR_SHARED_TABLES',
        message: expect.stringContaining('tenants may write plans') as string,
      })
    } finally {
      await server.close()
    }
    const db = cell.drizzle(cell.server.client(scope, open))
    await expect(db.delete(cell.model.plans).execute()).rejects.toThrow()
  })

  it('a table that tenants had before it was shared is found by their next migration', async () => {
    const cell = await start()
    const alone = await cell.another({ sharedTables: { names: [], writable: [] } })
    const scope = placedScope(namespaceStrategy('schema'))
    const migrations = [migrationOf(['CREATE TABLE plans (id integer)'])]
    await migrateNamespace({ server: alone, scope, migrations })
    await alone.close()
    const code = await codeOf(() => migrateNamespace({ server: cell.server, scope, migrations: [] }))
    expect(code).toBe('TENANCY_ERR_SHARED_TABLES')
  })

  it('row-level security is verified with a reference to a shared table, and not with one that cascades', async () => {
    const cell = await start(rlsStrategy() as never)
    await provision(cell, placedScope(rlsStrategy()))
    expect(await verifyRls(cell.server, sharedSchemas)).toMatchObject({ ok: true })
    await cell.asOwner(
      'create table rls.labelled (tenant_id uuid, tag_id integer references shared.tags on delete cascade)',
    )
    const report = await verifyRls(cell.server, sharedSchemas)
    expect(report.checks.find(({ name }) => name === 'foreign keys')).toMatchObject({ ok: false })
  })

  it('functions of the shared schema with the rights of their owner are refused', async () => {
    const cell = await start()
    const definer = `CREATE FUNCTION f() RETURNS int LANGUAGE sql SECURITY DEFINER AS $$ select 1 $$`
    expect(await codeOf(() => migrateShared(cell.server, [definer]))).toBe('TENANCY_ERR_MIGRATION_REFUSED')
  })

  it('a long transaction that reads a shared table holds up the removal of a tenant, and not the other readers', async () => {
    const cell = await start()
    const [scope, other] = [placedScope(namespaceStrategy('schema')), placedScope(namespaceStrategy('schema'))]
    await Promise.all([provision(cell, scope), provision(cell, other)])
    const reader = new Client({ connectionString: cell.url as string })
    await reader.connect()
    await reader.query('begin; select * from shared.plans')
    const db = cell.drizzle(cell.server.client(other, open))
    let removed = false
    const removing = cell.server.destroy(scope).finally(() => (removed = true))
    let longest = 0
    for (const end = Date.now() + 3000; Date.now() < end; ) {
      const begun = performance.now()
      await db.select().from(cell.model.plans)
      longest = Math.max(longest, performance.now() - begun)
    }
    expect(removed).toBe(false)
    expect(longest).toBeLessThan(2000)
    await reader.query('commit')
    await reader.end()
    expect(await removing).toMatchObject({ rows: 0 })
  })

  it('many tenants come and go, whatever order their tables refer to shared ones in', async () => {
    const cell = await start()
    const [one, two] = [
      'CREATE TABLE "x" ("id" integer REFERENCES "public"."plans"("id"), "tag" integer REFERENCES "tags"("id"))',
      'CREATE TABLE "x" ("tag" integer REFERENCES "public"."tags"("id"), "id" integer REFERENCES "plans"("id"))',
    ]
    const comeAndGo = async (i: number) => {
      const scope = placedScope(namespaceStrategy('schema'))
      await migrateNamespace({ server: cell.server, scope, migrations: [migrationOf([i % 2 === 0 ? one : two])] })
      await cell.server.destroy(scope)
    }
    await Promise.all(
      Array.from({ length: 4 }, async (_, i) => {
        for (let n = 0; n < 6; n++) await comeAndGo(i + n)
      }),
    )
    expect(
      await cell.asOwner(
        "select count(*)::int as n from pg_constraint where contype = 'f' and confrelid = 'shared.tags'::regclass",
      ),
    ).toEqual([{ n: 0 }])
  })
})
