import { PGlite } from '@electric-sql/pglite'
import { and, eq } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/pglite'
import type { StrategyName } from '../../src/contracts/tenant.ts'
import { migrateNamespace } from '../../src/migrations/runner.ts'
import type { PgVariant } from '../matrix/postgres-cells.ts'
import { open, placedScope, sharedSchemas } from '../support/database.ts'
import type { BenchCell } from './isolation-cell.ts'
import { fillOf, migrationsOf, notes, pgOptions, placeOf, tablesIn } from './isolation-postgres.ts'
import { at } from './notes.ts'
import { createPgliteServer } from './product.ts'

/**
 * Makes that many tenants and their rows, and the same rows in another embedded database, which knows no tenants. The bars
 * are those of PostgreSQL, though one session does everybody's work: what a tenant left in it is undone before the next.
 */
export async function pgliteCell({ name, strategy, options }: PgVariant, tenants: number): Promise<BenchCell> {
  const kind = strategy.name as StrategyName
  const scopes = Array.from({ length: tenants }, () => placedScope(strategy))
  const places = scopes.map((scope) => placeOf(scope, kind))
  const tables = places.map(({ schema, prefix }) => tablesIn(schema, prefix).notes)
  const server = createPgliteServer({
    folder: undefined,
    registrySchema: 'tenancy',
    shared: { ...sharedSchemas, ...options },
    poolTimeout: 60,
    onStatement: undefined,
  })
  await server.open()
  const embedded = await PGlite.create()
  for (const [i, scope] of scopes.entries()) {
    await migrateNamespace({ server, scope, migrations: migrationsOf(kind) })
    await server.admin.query(fillOf(scope))
    const { schema, prefix } = at(places, i)
    const name = `"${schema}"."${prefix}notes"`
    await embedded.exec(
      `create schema if not exists "${schema}";
      create table if not exists ${name} (tenant_id uuid, id integer not null, body text not null, unique (tenant_id, id));
      ${kind === 'rls' ? '' : `create index on ${name} (id);`}
      ${fillOf(scope, name)}`,
    )
  }
  // The same rights: a superuser is asked for none.
  const schemas = [...new Set(places.map(({ schema }) => `"${schema}"`))].join(', ')
  await embedded.exec(`create role app; grant usage on schema ${schemas} to app;
    grant select on all tables in schema ${schemas} to app; set session authorization app`)
  const plain = drizzle({ client: embedded })
  const scoped = scopes.map((scope) => drizzle({ client: server.client(scope, open) as never }))
  let users = 0

  return {
    name: `${name} on PGlite`,
    bar: pgOptions.find((option) => option.name === name)?.bar ?? { most: 1.15 },
    tenants: scopes.map(({ tenantId }) => tenantId),
    async connect() {
      users++
      return {
        plain: (tenant, id) => {
          const table = at(tables, tenant)
          const byId = eq(table.id, id)
          const own = kind === 'rls' ? and(eq(table.tenantId, at(scopes, tenant).tenantId), byId) : byId
          return plain.select().from(table).where(own)
        },
        scoped: (tenant, id) => at(scoped, tenant).select().from(notes).where(eq(notes.id, id)),
        async close() {
          if (--users === 0) await Promise.all([server.close(), embedded.close()])
        },
      }
    },
  }
}
