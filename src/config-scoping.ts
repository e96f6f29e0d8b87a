import type { ServerEntry } from './config-servers.ts'
import { databaseKind } from './database-url.ts'
import type { Secret } from './util/secret.ts'

/** What both options depend on. */
interface Values {
  readonly tenantRoles: boolean
  readonly schemaScoping: 'search_path' | 'qualified'
  readonly isolationStrategy: string
  readonly sharedTables: readonly string[]
  readonly databaseUrl?: Secret | undefined
  readonly pooler: string
  readonly servers: Readonly<Record<string, Pick<ServerEntry, 'pooler'>>>
}

/** Names an option for a message. */
type Label = (name: keyof Values) => string

/** What keeps tenants from having roles of their own: those of another strategy would share the login, and could become them. */
export function tenantRolesProblem(values: Values, label: Label): string | undefined {
  if (!values.tenantRoles) return undefined
  return values.sharedTables.length > 0
    ? `got true with ${label('sharedTables')}. A tenant's role has rights in its own schema alone: use one of the two.`
    : misplaced('got true', values, label)
}

/** What keeps names from being written out with no scope beside them: it would be missed by the others on the same connections. */
export function schemaScopingProblem(values: Values, label: Label): string | undefined {
  if (values.schemaScoping !== 'qualified') return undefined
  const got = 'got `qualified`'
  if (values.tenantRoles)
    return `${got}, which sends nothing with a statement, and ${label('tenantRoles')}, which must. Choose one.`
  const pooled = Object.entries(values.servers).find(([, { pooler }]) => pooler === 'transaction')
  if (values.pooler === 'transaction' || pooled !== undefined) {
    const whose = values.pooler === 'transaction' ? label('pooler') : `that of the server "${pooled?.[0]}"`
    return `${got}, but ${whose} is \`transaction\`. Connections to a pooler do not begin with a path of ours: connect without one, or use \`search_path\`.`
  }
  return misplaced(got, values, label)
}

function misplaced(got: string, { isolationStrategy, databaseUrl }: Values, label: Label): string | undefined {
  if (isolationStrategy !== 'schema')
    return `${got}, but ${label('isolationStrategy')} is \`${isolationStrategy}\`. It is for \`schema\` alone.`
  const kind = databaseUrl === undefined ? 'postgres' : databaseKind(databaseUrl.reveal())
  return kind === 'postgres' || kind === 'pglite'
    ? undefined
    : `${got}, but ${label('databaseUrl')} is not PostgreSQL. Remove it.`
}
