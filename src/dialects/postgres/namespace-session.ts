import type { AdminConnection } from '../../contracts/dialect.ts'
import type { Scope } from '../../contracts/isolation.ts'
import type { NamespaceSession } from '../../contracts/migrator.ts'
import { tenancyError } from '../../errors.ts'
import { quoteIdentifier, quoteLiteral } from './quote.ts'

/** Drizzle's own journal table, so that a schema migrated by drizzle before stays known. */
const LEDGER = '__drizzle_migrations'

/** What {@link openNamespaceSession} needs of the server. */
export interface NamespaceRights {
  /** Role of the serving connection: gets rows, never DDL. Absent when the admin connection serves too. */
  readonly servingRole: string | undefined
}

/**
 * Opens one namespace inside a running admin transaction: takes its advisory lock (released with the transaction) and
 * puts it on the path.
 */
export async function openNamespaceSession(
  query: AdminConnection['query'],
  scope: Scope,
  rights: NamespaceRights,
): Promise<NamespaceSession> {
  const schema = quoteIdentifier(scope.namespace)
  const ledger = `${schema}.${quoteIdentifier(LEDGER)}`
  const mark = `fastify-tenancy tenant ${scope.tenantId}`
  await query('select pg_advisory_xact_lock(hashtextextended($1, 0))', [`fastify-tenancy:${scope.namespace}`])
  // The rewriter reads backslashes in strings as this setting has them.
  await query('set local standard_conforming_strings to on')
  await query(`set local search_path to ${scope.searchPath.map(quoteIdentifier).join(', ')}`)

  return Object.freeze({
    async ensure() {
      const [found] = await query<{ mark: string | null }>(
        `select obj_description(oid, 'pg_namespace') as mark from pg_catalog.pg_namespace where nspname = $1`,
        [scope.namespace],
      )
      if (found?.mark === mark) return false
      if (found !== undefined) throw tenancyError('TENANCY_ERR_NAMESPACE_EXISTS', [scope.namespace])
      await query(`create schema ${schema}`)
      await query(`comment on schema ${schema} is ${quoteLiteral(mark)}`)
      await query(
        `create table ${ledger} (id serial primary key, hash text not null unique, created_at bigint, name text, applied_at timestamptz default now())`,
      )
      if (rights.servingRole !== undefined)
        for (const grant of grants(schema, quoteIdentifier(rights.servingRole))) await query(grant)
      return true
    },

    async applied() {
      const rows = await query<{ hash: string }>(`select hash from ${ledger}`)
      return new Set(rows.map(({ hash }) => hash))
    },

    async run(statement: string) {
      await query(statement)
    },

    async record({ hash, createdAt, name }) {
      await query(`insert into ${ledger} (hash, created_at, name) values ($1, $2, $3)`, [hash, createdAt, name])
    },
  } satisfies NamespaceSession)
}

/** Rows for the serving role, in what exists later; the ledger was made before and stays out of its reach. */
function grants(schema: string, role: string): string[] {
  const defaults = `alter default privileges in schema ${schema} grant`
  return [
    `grant usage on schema ${schema} to ${role}`,
    `${defaults} select, insert, update, delete on tables to ${role}`,
    `${defaults} usage, select, update on sequences to ${role}`,
  ]
}
