import { setTimeout as sleep } from 'node:timers/promises'
import type { AdminConnection } from '../../../contracts/dialect.ts'
import { tenancyError } from '../../../errors.ts'

/** Milliseconds after which every process refuses a tenant that is deleted; see the feed of changes. */
const HEARD_MS = 1000
/** Milliseconds that who was writing may go on. */
const PATIENCE_MS = 30_000
const PAUSE_MS = 50

/**
 * Waits until whoever writes the shared tables now has ended: a statement that began while the tenant was served would put
 * a row behind the last one that is removed. A schema needs no such wait, because DROP has one.
 * @throws TENANCY_ERR_DESTROY_INCOMPLETE when a transaction goes on for longer than 30 s
 */
export async function writersGone(query: AdminConnection['query'], schema: string): Promise<void> {
  await sleep(HEARD_MS)
  const writing = async (): Promise<string[]> => {
    const rows = await query<{ transaction: string }>(
      `select distinct l.virtualtransaction as transaction from pg_catalog.pg_locks l
       join pg_catalog.pg_class c on c.oid = l.relation join pg_catalog.pg_namespace n on n.oid = c.relnamespace
       join pg_catalog.pg_database d on d.oid = l.database and d.datname = pg_catalog.current_database()
       where n.nspname = $1 and l.mode in ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')`,
      [schema],
    )
    return rows.map(({ transaction }) => transaction)
  }
  const deadline = performance.now() + PATIENCE_MS
  let left = await writing()
  while (left.length > 0) {
    if (performance.now() > deadline) {
      throw tenancyError('TENANCY_ERR_DESTROY_INCOMPLETE', [
        'a transaction that writes the shared tables began before and goes on; call it again when that has ended',
      ])
    }
    await sleep(PAUSE_MS)
    const now = new Set(await writing())
    left = left.filter((transaction) => now.has(transaction))
  }
}
