import { drizzle } from 'drizzle-orm/node-postgres'
import { drizzle as drizzlePglite } from 'drizzle-orm/pglite'
import type { IsolationStrategy } from '../../src/contracts/isolation.ts'
import type { SharedTables } from '../../src/contracts/shared-tables.ts'
import type { StrategyName } from '../../src/contracts/tenant.ts'
import { createPgliteServer } from '../../src/dialects/postgres/drivers/pglite-server.ts'
import { PGLITE_SERVING_ROLE } from '../../src/dialects/postgres/drivers/pglite-tenant-client.ts'
import { sharedNamespace } from '../../src/dialects/postgres/shared/namespace.ts'
import { namespaceStrategy } from '../../src/isolation/namespace.ts'
import { rlsStrategy } from '../../src/isolation/rls.ts'
import type { Db } from '../matrix/cell.ts'
import { asSuperuser, baselineDatabase, sharedSchemas, testServer } from '../support/database.ts'
import { type OpenSharedCell, type SharedCell, sharedTables } from './cell.ts'
import { pgModel, sharedStatements, statements } from './models.ts'

/** The strategies whose tenants reach a table of another schema. */
export const sharingStrategies: readonly IsolationStrategy[] = [
  namespaceStrategy('schema'),
  rlsStrategy(),
  namespaceStrategy('prefix'),
]

const attacks = [
  `insert into "shared"."plans" values (4, 'stolen')`,
  `update "shared"."plans" set name = 'stolen'`,
  `update only "shared"."plans" set name = 'stolen' returning *`,
  `delete from "shared"."plans"`,
  `with gone as (delete from "shared"."plans" returning *) select * from gone`,
  `merge into "shared"."plans" p using (values (1)) v(id) on p.id = v.id when matched then delete`,
  `truncate "shared"."plans" cascade`,
  `truncate "shared"."tags"`,
  `alter table "shared"."plans" add column mine int`,
  `alter table "shared"."plans" disable trigger all`,
  `drop table "shared"."plans"`,
  `create table "shared"."mine" (id int)`,
  `create trigger t before insert on "shared"."plans" for each row execute function suppress_redundant_updates_trigger()`,
  `create view "shared"."v" as select 1`,
  `comment on table "shared"."plans" is 'mine'`,
  `comment on schema "shared" is 'mine'`,
  `select * from "shared"."plans" for update`,
  `lock table "shared"."plans" in exclusive mode`,
  `select setval('shared.tags_id_seq', 1)`,
  `create temp table plans (id int)`,
]

function cellOf(
  engine: string,
  strategy: IsolationStrategy,
  openServers: (
    sharedTables: SharedTables,
  ) => Promise<Pick<OpenSharedCell, 'server' | 'another' | 'asOwner' | 'close' | 'drizzle' | 'url'>>,
): SharedCell {
  const byRows = strategy.name === 'rls'
  return {
    name: `${strategy.name} on ${engine}`,
    strategy,
    attacks,
    full: (name) => `"shared"."${name}"`,
    open: async () => ({
      ...(await openServers(sharedTables)),
      model: pgModel(byRows),
      sharedStatements: sharedStatements.postgres,
      statements: byRows ? statements.rls : statements.postgres,
      cascading: byRows
        ? 'CREATE TABLE "labelled" ("tenant_id" uuid NOT NULL, "id" integer NOT NULL, "tag_id" integer REFERENCES "tags"("id") ON DELETE CASCADE)'
        : 'CREATE TABLE "labelled" ("id" integer PRIMARY KEY NOT NULL, "tag_id" integer REFERENCES "public"."tags"("id") ON DELETE SET NULL)',
      ownTable: `CREATE TABLE mine (${byRows ? 'tenant_id uuid, ' : ''}id integer)`,
      rows: async (db, query) => (await db.execute(query)).rows,
    }),
  }
}

/** A strategy on a PostgreSQL server. */
export function pgSharedCell(engine: string, superuserUrl: string, strategy: IsolationStrategy): SharedCell {
  return cellOf(engine, strategy, async (tables) => {
    const database = await baselineDatabase(superuserUrl)
    const start = async (change: Partial<SharedTables> = {}) => {
      const server = testServer(database, {
        poolSize: 2,
        strategies: [strategy.name as StrategyName],
        sharedTables: { ...tables, ...change },
      })
      await server.open()
      return server
    }
    const server = await start()
    return {
      server,
      url: database.superUrl,
      drizzle: (client) => drizzle({ client: client as never }) as unknown as Db,
      another: (options) => start(options?.sharedTables),
      asOwner: (...texts) =>
        asSuperuser(database, async (client) => {
          let rows: Record<string, unknown>[] = []
          for (const text of texts) rows = (await client.query<Record<string, unknown>>(text)).rows
          return rows
        }),
      close: async () => {
        await server.close()
        await database.drop()
      },
    }
  })
}

/** A strategy on an embedded PGlite, which is one process: another server is the same one with other tables. */
export function pgliteSharedCell(strategy: IsolationStrategy): SharedCell {
  return cellOf('PGlite', strategy, async (tables) => {
    const server = createPgliteServer({
      folder: undefined,
      registrySchema: 'tenancy',
      shared: sharedSchemas,
      sharedTables: tables,
      poolTimeout: 60,
      onStatement: undefined,
    })
    await server.open()
    return {
      server,
      drizzle: (client) => drizzlePglite({ client: client as never }) as unknown as Db,
      another: async (options) => {
        if (options?.sharedTables === undefined) return { ...server, close: async () => {} }
        const shared = sharedNamespace({ ...tables, ...options.sharedTables }, server.admin.transaction, () => ({
          servingRole: PGLITE_SERVING_ROLE,
          shared: sharedSchemas,
        }))
        return { ...server, shared, close: async () => {} }
      },
      asOwner: async (...texts) => {
        let rows: Record<string, unknown>[] = []
        for (const text of texts) rows = await server.admin.query(text)
        return rows
      },
      close: () => server.close(),
    }
  })
}
