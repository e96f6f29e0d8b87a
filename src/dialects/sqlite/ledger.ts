import type { Scope } from '../../contracts/isolation.ts'
import type { Layout } from './layout.ts'
import { sqliteProfile } from './profile.ts'

/** Drizzle's own journal table, so that a file migrated by drizzle before stays known. */
export const LEDGER = '__drizzle_migrations'

/** The ledger's name in this layout, not quoted. */
export function ledgerName({ naming }: Layout): string {
  return naming.prefix + LEDGER
}

/** The statement that makes the ledger. SQLite keeps its text, and so the comment that says whose namespace this is. */
export function createLedger(scope: Scope, layout: Layout): string {
  const columns = [
    'id integer primary key',
    'hash text not null unique',
    'created_at numeric',
    'name text',
    'applied_at text default current_timestamp',
  ]
  return `create table ${sqliteProfile.quoteName(ledgerName(layout))} (${columns.join(', ')} ${mark(scope)})`
}

/** Finds the text that SQLite keeps of the ledger; its one parameter is the ledger's name. */
export const FIND_LEDGER = `select sql from sqlite_schema where type = 'table' and name = ?`

/** Whether a ledger of this text was made for this tenant. */
export function isMarkedFor(scope: Scope, ledgerSql: unknown): boolean {
  return typeof ledgerSql === 'string' && ledgerSql.includes(mark(scope))
}

function mark({ tenantId }: Scope): string {
  // An id is a UUID; anything else must not end the comment.
  return `/* fastify-tenancy tenant ${tenantId.replace(/[^\w-]/g, '')} */`
}
