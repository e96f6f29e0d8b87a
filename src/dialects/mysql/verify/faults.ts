import type { AdminConnection } from '../../../contracts/dialect.ts'
import type { Scope } from '../../../contracts/isolation.ts'
import type { Layout } from '../layout.ts'
import { markOf, tenantMark } from '../namespace-session.ts'
import { databaseExists } from '../objects.ts'

type Query = AdminConnection['query']

const GRANT = /^GRANT (.+?) ON (?:TABLE )?[`"']?((?:[^`"'.\\]|\\.)+)[`"']?\.(\S+) TO /
const RIGHTS = ['SELECT', 'INSERT', 'UPDATE', 'DELETE']

/** Whether the namespace is there and this tenant's, with the ledger of its migrations. */
export async function placeFaults(query: Query, scope: Scope, layout: Layout): Promise<string[]> {
  if (!(await databaseExists(query, layout.database))) return [`the database ${layout.database} does not exist`]
  const mark = await markOf(query, layout)
  if (mark === undefined) return ['there is no ledger of migrations']
  return mark === tenantMark(scope) ? [] : ['the ledger of migrations is not marked as made for this tenant']
}

/** What lines of SHOW GRANTS allow on the tenant's database besides its rows. */
export function grantFaults(grants: readonly string[], { database }: Layout): string[] {
  return grants.flatMap((grant) => {
    const [, rights = '', pattern = '', object = ''] = GRANT.exec(grant) ?? []
    if (pattern === '' || pattern === '*' || !matches(pattern, database)) return []
    const excess = rights.split(/,\s*/).filter((right) => !RIGHTS.includes(right))
    return [
      ...(isWide(pattern) && pattern !== database
        ? [`${rights} are granted on ${pattern}, which other databases match too`]
        : []),
      ...(excess.length > 0 || object !== '*' ? [`${rights} are granted on ${pattern}.${object}`] : []),
    ]
  })
}

/** Lines of SHOW GRANTS on more than one database, or on one that was meant otherwise. */
export function wideGrants(grants: readonly string[]): string[] {
  return grants.flatMap((grant) => {
    const [, rights = '', pattern = '', object = ''] = GRANT.exec(grant) ?? []
    return isWide(pattern) ? [`${rights} are granted on ${pattern}.${object}, which several databases can match`] : []
  })
}

function isWide(pattern: string): boolean {
  return /(?<!\\)[%_]/.test(pattern)
}

/** Whether a database is one of those that a pattern of a grant stands for. */
function matches(pattern: string, database: string): boolean {
  const source = pattern.replaceAll(/\\(.)|([%_])|([.*+?^${}()|[\]])/g, (_all, escaped, wild, special) => {
    if (escaped !== undefined) return String(escaped)
    return wild === undefined ? `\\${String(special)}` : wild === '%' ? '.*' : '.'
  })
  return new RegExp(`^${source}$`, 'i').test(database)
}

/**
 * Foreign keys between a table of this namespace and one that is not of it. A table that all tenants read, in the database
 * `sharedSchema`, may be referred to; it may not refer to one of theirs.
 */
export async function tieFaults(
  query: Query,
  { database, naming: { prefix } }: Layout,
  sharedSchema?: string,
): Promise<string[]> {
  const keys = await query<Record<'child' | 'childIn' | 'parent' | 'parentIn' | 'name', string>>(
    `select constraint_name as name, table_name as child, constraint_schema as childIn, referenced_table_name as parent,
       unique_constraint_schema as parentIn
     from information_schema.referential_constraints where constraint_schema = ? or unique_constraint_schema = ?`,
    [database, database],
  )
  const isOwn = (schema: string, table: string) => schema === database && table.startsWith(prefix)
  return keys
    .filter(({ child, childIn, parent, parentIn }) => isOwn(childIn, child) !== isOwn(parentIn, parent))
    .filter(({ child, childIn, parentIn }) => !(isOwn(childIn, child) && parentIn === sharedSchema))
    .map(({ name }) => `the foreign key ${name} ties a table of this tenant to one that is not its own`)
}
