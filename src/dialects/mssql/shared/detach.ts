import { setTimeout as sleep } from 'node:timers/promises'
import type { AdminConnection } from '../../../contracts/dialect.ts'
import type { SharedTables } from '../../../contracts/shared-tables.ts'
import { tenancyError } from '../../../errors.ts'
import { errorNumber } from '../failure.ts'
import type { Layout } from '../layout.ts'
import { fullName } from '../objects.ts'
import { mssqlProfile } from '../profile.ts'

type Query = AdminConnection['query']

/** Milliseconds that all readers of a shared table may have to wait for us. */
const LOCK_WAIT_MS = 300
const PAUSE_MS = 200
const ATTEMPTS = 50
/** The lock was not to be had in time; another one was chosen to be ended in a deadlock. */
const IN_USE: ReadonlySet<number | undefined> = new Set([1222, 1205])

/**
 * Drops the foreign keys of one tenant to shared tables, one by one and each final: that takes a lock on the shared table
 * beside which nobody can read. It is waited for only shortly and again and again, so that one long transaction that reads
 * the table does not hold up all others behind us. For who has the lock of the namespace and knows that it is the tenant's.
 * @throws TENANCY_ERR_DESTROY_INCOMPLETE when a shared table is in use for too long
 */
export async function detachFromShared(query: Query, layout: Layout, { schema }: SharedTables): Promise<void> {
  const keys = await query<{ table: string; key: string }>(
    `select c.name as [table], k.name as [key] from sys.foreign_keys k
     join sys.tables c on c.object_id = k.parent_object_id join sys.tables p on p.object_id = k.referenced_object_id
     where c.schema_id = schema_id(@p0) and p.schema_id = schema_id(@p1)`,
    [layout.schema, schema],
  )
  for (const { table, key } of keys) {
    if (table.startsWith(layout.naming.prefix)) await dropKey(query, layout, table, key)
  }
}

async function dropKey(query: Query, layout: Layout, table: string, key: string): Promise<void> {
  // The setting ends with its batch.
  const text = `set lock_timeout ${LOCK_WAIT_MS}; alter table ${fullName(layout, table)} drop constraint ${mssqlProfile.quoteName(key)}`
  for (let attempt = 1; ; attempt++) {
    try {
      await query(text)
      return
    } catch (error) {
      if (!IN_USE.has(errorNumber(error))) throw error
      if (attempt === ATTEMPTS) {
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
