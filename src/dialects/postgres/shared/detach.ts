import { setTimeout as sleep } from 'node:timers/promises'
import type { AdminConnection } from '../../../contracts/dialect.ts'
import type { SharedTables } from '../../../contracts/shared-tables.ts'
import { tenancyError } from '../../../errors.ts'
import type { Layout } from '../layout.ts'
import { quoteIdentifier } from '../quote.ts'

type Query = AdminConnection['query']

interface Key {
  readonly table: string
  readonly key: string
}

/** Milliseconds that all readers of a shared table may have to wait for us. */
const LOCK_WAIT_MS = 300
const PAUSE_MS = 200
const ATTEMPTS = 50
const LOCK_NOT_AVAILABLE = '55P03'
const DEADLOCK = '40P01'

/**
 * Drops the foreign keys of one tenant to shared tables, one in each transaction: that takes a lock on the shared table
 * which nobody can read beside. It is waited for only shortly and again and again, so that one long transaction that reads
 * the table does not hold up all others behind us. `begin` sees in each transaction that the tables are the tenant's.
 * @throws TENANCY_ERR_DESTROY_INCOMPLETE when a shared table is in use for too long
 */
export async function detachFromShared(
  admin: Pick<AdminConnection, 'transaction'>,
  { schema, naming }: Layout,
  shared: SharedTables,
  begin: (query: Query) => Promise<boolean>,
): Promise<void> {
  const dropOne = (query: Query) => dropFirstKey(query, [schema, naming.prefix, shared.schema], begin)
  for (let attempt = 1; ; ) {
    try {
      if (!(await admin.transaction(dropOne))) return
    } catch (error) {
      const { code } = error as { code?: unknown }
      if (code !== LOCK_NOT_AVAILABLE && code !== DEADLOCK) throw error
      if (attempt++ === ATTEMPTS) {
        throw tenancyError(
          'TENANCY_ERR_DESTROY_INCOMPLETE',
          ['a shared table that it refers to is in use; try again'],
          error,
        )
      }
      await sleep(PAUSE_MS)
    }
  }
}

/** False when there is none. */
async function dropFirstKey(
  query: Query,
  [schema, prefix, sharedSchema]: readonly [string, string, string],
  begin: (query: Query) => Promise<boolean>,
): Promise<boolean> {
  if (!(await begin(query))) return false
  const [found] = await query<Key>(
    `select child.relname::text as table, k.conname::text as key from pg_catalog.pg_constraint k
     join pg_catalog.pg_class child on child.oid = k.conrelid join pg_catalog.pg_class parent on parent.oid = k.confrelid
     where k.contype = 'f' and k.conparentid = 0
       and child.relnamespace = (select oid from pg_catalog.pg_namespace where nspname = $1)
       and pg_catalog.starts_with(child.relname::text, $2)
       and parent.relnamespace = (select oid from pg_catalog.pg_namespace where nspname = $3) limit 1`,
    [schema, prefix, sharedSchema],
  )
  if (found === undefined) return false
  await query(`set local lock_timeout to ${LOCK_WAIT_MS}`)
  const table = `${quoteIdentifier(schema)}.${quoteIdentifier(found.table)}`
  await query(`alter table ${table} drop constraint ${quoteIdentifier(found.key)}`)
  return true
}
