import { setTimeout as sleep } from 'node:timers/promises'
import type { AdminConnection } from '../../../contracts/dialect.ts'
import { tenancyError } from '../../../errors.ts'
import type { SharedSchema } from './catalogue.ts'

/** Milliseconds after which every process refuses a tenant that is deleted; see the feed of changes. */
const HEARD_MS = 1000
/** Milliseconds that who may still write may go on. */
const PATIENCE_MS = 30_000
const PAUSE_MS = 50

const INSUFFICIENT_PRIVILEGE = '42501'

/**
 * Transactions that may write the shared tables: each of the role that serves, because a statement that has not come to its
 * INSERT yet holds no lock that says so; and whoever has such a lock, whoever it is, prepared transactions too. Everybody sees who
 * has a transaction and whose session it is; since when, or with what statement, few do.
 */
const MAY_WRITE = `with here as (select oid from pg_catalog.pg_database where datname = pg_catalog.current_database())
  select l.virtualtransaction as transaction from pg_catalog.pg_locks l join pg_catalog.pg_stat_activity a on a.pid = l.pid
   where l.locktype = 'virtualxid' and a.pid <> pg_catalog.pg_backend_pid() and a.datid = (select oid from here)
     and a.usename = coalesce($2::name, session_user)
  union
  select l.virtualtransaction from pg_catalog.pg_locks l
   join pg_catalog.pg_class c on c.oid = l.relation join pg_catalog.pg_namespace n on n.oid = c.relnamespace
   where l.database = (select oid from here) and n.nspname = $1
     and l.mode in ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')`

/**
 * Waits until all transactions have ended that may write the shared tables now: a statement that began while the tenant was
 * served would put a row behind the last one that is removed. A schema needs no such wait, because DROP has one.
 * @throws TENANCY_ERR_DESTROY_INCOMPLETE when one goes on for longer than 30 s, or when it cannot be told
 */
export async function writersGone(query: AdminConnection['query'], { schema, role }: SharedSchema): Promise<void> {
  await sleep(HEARD_MS)
  const writing = async (): Promise<string[]> => {
    const rows = await query<{ transaction: string }>(MAY_WRITE, [schema, role]).catch(unseen)
    return rows.map(({ transaction }) => transaction)
  }
  const deadline = performance.now() + PATIENCE_MS
  let left = await writing()
  while (left.length > 0) {
    if (performance.now() > deadline) {
      throw tenancyError('TENANCY_ERR_DESTROY_INCOMPLETE', [
        'a transaction that may write the shared tables began before and goes on; call it again when that has ended',
      ])
    }
    await sleep(PAUSE_MS)
    const now = new Set(await writing())
    left = left.filter((transaction) => now.has(transaction))
  }
}

function unseen(error: unknown): never {
  if ((error as { code?: unknown }).code !== INSUFFICIENT_PRIVILEGE) throw error
  const reason =
    'whether somebody still writes cannot be told, because the admin role may not read pg_stat_activity. Run the SQL of `fastify-tenancy roles` again'
  throw tenancyError('TENANCY_ERR_DESTROY_INCOMPLETE', [reason], error)
}
