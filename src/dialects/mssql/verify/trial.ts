import type { AdminConnection, DatabaseServer } from '../../../contracts/dialect.ts'
import type { Scope } from '../../../contracts/isolation.ts'
import type { Check } from '../../../contracts/verification.ts'
import { check } from '../../../verification/report.ts'
import { undone } from '../../../verification/trial.ts'
import { checkBaseline } from '../baseline.ts'
import type { NamespaceRights } from '../namespace-session.ts'
import { registryBreaches } from '../registry-rights.ts'
import type { Answer } from './outcome.ts'

type Query = AdminConnection['query']

/** One session of the admin login, which goes from one database into another. */
export interface AdminSession {
  readonly query: Query
  use(database: string): Promise<void>
}

/** Sends one statement, with `@p0`, `@p1` …. */
export type Send = (text: string, parameters?: readonly unknown[]) => Promise<Answer>

/** What a verification is done with. */
export interface ScopeTrial {
  readonly server: Pick<DatabaseServer, 'client' | 'lazyTransaction'>
  readonly scope: Scope
  readonly rights: NamespaceRights
  readonly adminLogin: string
  /** The schema of the registry. */
  readonly registrySchema: string
  /** The database that all connections are in. */
  readonly main: string
  /** One admin connection, outside of transactions. */
  readonly administering: <T>(work: (session: AdminSession) => Promise<T>) => Promise<T>
  /** A transaction on the serving connection, without any scope. */
  readonly unscoped: AdminConnection['transaction']
  /** One transaction on the serving connection, undone at its end, in which each statement is sent as the tenant with this key, or as none. */
  readonly asTenants: <T>(work: (as: (rowKey: string | null) => Send) => Promise<T>) => Promise<T>
}

/** Milliseconds to wait for who makes, migrates or destroys the namespace. */
export const LOCK_WAIT_MS = 10_000

/** What the serving login could do without a tenant, and where its sessions are. */
export function servingChecks({ unscoped, adminLogin, registrySchema, main }: ScopeTrial): Promise<Check[]> {
  return undone(unscoped, async (query) => {
    const { breaches } = await checkBaseline(query, adminLogin)
    return [
      check('serving login', [...breaches, ...(await registryBreaches(query, registrySchema))]),
      check('session', await sessionFaults(query, main)),
    ]
  })
}

/** A session without a tenant must be in the database of the URL, and read quoted names the way we do. */
async function sessionFaults(query: Query, main: string): Promise<string[]> {
  const [session] = await query<{ name: string; quoted: number | null }>(
    "select db_name() as name, cast(sessionproperty(N'QUOTED_IDENTIFIER') as int) as quoted",
  )
  return [
    ...(session?.name.toLowerCase() === main.toLowerCase() ? [] : [`a connection is in the database ${session?.name}`]),
    ...(session?.quoted === 0 ? ['QUOTED_IDENTIFIER is off'] : []),
  ]
}

/** Sends a statement on what a tenant's client is. */
export function sendOn(client: object, text: string): Promise<Answer> {
  return (client as Queryable).request().query(text)
}

interface Queryable {
  request(): { query(text: string): Promise<Answer> }
}
