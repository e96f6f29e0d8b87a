import { Client } from 'pg'
import { asSuperuser } from '../support/database.ts'
import type { TestDatabase } from '../servers/database.ts'
import type { Watch } from './attack.ts'
import type { Attacker } from './operation.ts'
import type { Attacked, Target } from './target.ts'

const SETTLE_MS = 5000

/** What a session is given by its role, and nothing that a tenant left there. */
const SESSION = `select current_setting('search_path') as path, coalesce(current_setting('app.current_tenant', true), '') as tenant,
  current_user::text as role, session_user::text as login, current_setting('statement_timeout') as timeout,
  current_setting('default_transaction_isolation') as isolation, current_setting('transaction_read_only') as read_only,
  (select count(*) from pg_prepared_statements where name not like 'tenancy\\_%')::int as statements, (select count(*) from pg_cursors where is_holdable)::int as cursors,
  array(select pg_listening_channels()) as channels`

/** From now on the serving role may see what is prepared; a server that was opened before goes on as it did. */
const SHOW_NAMES = 'grant execute on function pg_prepared_statement() to public'

interface Inspected {
  readonly database: TestDatabase
  readonly target: Target
}

/** Everybody is back, nobody waits, and every connection is as the role gets it. */
export async function inspectPool({ database, target: { pool } }: Inspected, watch: Watch): Promise<void> {
  const atRest = () => pool.idleCount === pool.totalCount && pool.waitingCount === 0
  if (!(await eventually(atRest))) {
    watch.note('wrong', `${pool.totalCount - pool.idleCount} connections are out, ${pool.waitingCount} wait`)
    return
  }
  await asSuperuser(database, (superuser) => superuser.query(SHOW_NAMES))
  const clean = JSON.stringify(await freshSession(database))
  const clients = await Promise.all(Array.from({ length: pool.options.max }, () => pool.connect()))
  for (const client of clients) client.on('error', () => {})
  // In transactions, held together: behind a pooler each of them then has a server connection of its own.
  for (const client of clients) await client.query('begin')
  for (const client of clients) {
    const found = JSON.stringify((await client.query(SESSION)).rows[0])
    if (found !== clean) watch.note('leftOver', `${found}, not ${clean}`)
  }
  for (const client of clients) await client.query('rollback')
  for (const client of clients) client.release()
}

/** What a new session of the serving role looks like. */
export async function freshSession({ appUrl }: TestDatabase): Promise<unknown> {
  const client = new Client({ connectionString: appUrl })
  await client.connect()
  try {
    return (await client.query(SESSION)).rows[0]
  } finally {
    await client.end()
  }
}

/** As superuser: each schema holds what its tenant was promised and nothing else, and no session keeps anything open. */
export async function inspectDatabase(
  { database }: Inspected,
  attackers: readonly Attacker[],
  watch: Watch,
): Promise<number> {
  return asSuperuser(database, async (superuser) => {
    await inspectSessions(superuser, database, watch)
    let acknowledged = 0
    for (const { tenant, ledger } of attackers) {
      const rows = await rowsOf(superuser, tenant)
      for (const { owner } of rows)
        if (owner !== tenant.marker) watch.note('foreign', `a row of ${owner} is in the schema of ${tenant.marker}`)
      const refs = new Map(rows.flatMap(({ ref, n }) => (ref === null ? [] : [[ref, n] as const])))
      for (const difference of ledger.differences(refs)) watch.note('wrong', difference)
      acknowledged += ledger.acknowledged
    }
    return acknowledged
  })
}

/** Empties every tenant's tables of what an attack wrote. */
export async function resetTenants(database: TestDatabase, tenants: readonly Attacked[]): Promise<void> {
  await asSuperuser(database, async (superuser) => {
    for (const { marker, scope } of tenants)
      await superuser.query(`delete from "${scope.namespace}".items where ref not like '${marker}-seed-%'`)
  })
}

function rowsOf(superuser: Client, { scope }: Attacked): Promise<{ owner: string; ref: string | null; n: number }[]> {
  const schema = superuser.escapeIdentifier(scope.namespace)
  const text = `select owner, ref, n from ${schema}.items union all select owner, null, 0 from ${schema}.parts`
  return superuser.query(text).then(({ rows }) => rows)
}

async function inspectSessions(superuser: Client, { appRole }: TestDatabase, watch: Watch): Promise<void> {
  const open = async () =>
    (
      await superuser.query<{ what: string }>(
        `select state || ': ' || left(query, 60) as what from pg_stat_activity
         where datname = current_database() and usename = $1 and state <> 'idle'
         union all select 'advisory lock of ' || usename from pg_locks join pg_stat_activity using (pid)
         where locktype = 'advisory' and datname = current_database() and usename = $1`,
        [appRole],
      )
    ).rows
  let found = await open()
  await eventually(async () => (found = await open()).length === 0)
  for (const { what } of found) watch.note('wrong', `a session is left with ${what}`)
}

async function eventually(holds: () => boolean | Promise<boolean>): Promise<boolean> {
  const deadline = Date.now() + SETTLE_MS
  while (!(await holds())) {
    if (Date.now() > deadline) return false
    await new Promise((done) => setTimeout(done, 10))
  }
  return true
}
