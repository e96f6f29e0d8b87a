import type { AdminConnection } from '../../../contracts/dialect.ts'
import { tenancyError } from '../../../errors.ts'
import { quoteIdentifier } from '../quote.ts'
import { foreignKeys, passages, type SharedTable, sharedTables, ungrantedViews } from './catalogue.ts'
import { createPolicy, currentTenant, POLICY_PREFIX, TENANT_TYPES, tenantPolicies } from './policy.ts'

type Query = AdminConnection['query']

/** What {@link protect} needs. */
export interface ProtectOptions {
  readonly schema: string
  /** The column that says whose a row is. */
  readonly column: string
  /** The ledger's name: no tenant has rows in it. */
  readonly ledger: string
  /** The serving role; null when the admin connection serves too. */
  readonly role: string | null
}

/**
 * Makes the database itself keep tenants apart in every table of the shared schema: ENABLE and FORCE ROW LEVEL SECURITY,
 * two policies, NOT NULL and a default for the tenant column, an index that begins with it, no TRUNCATE. What is there
 * already is left as it is, so that a second run changes nothing.
 *
 * Refuses what policies could not hold: a table without a tenant, a foreign key that could refer to another tenant's row,
 * a function with the rights of its owner.
 * @throws TENANCY_ERR_RLS_UNPROTECTABLE
 */
export async function protect(query: Query, options: ProtectOptions): Promise<void> {
  const tables = await sharedTables(query, options)
  for (const table of tables) {
    const type = tenantTypeOf(table, options)
    for (const statement of missing(table, type, options)) await query(statement)
  }
  for (const { name, child, parent, withTenant } of await foreignKeys(query, options.schema, options.column)) {
    if (withTenant) continue
    throw unprotectable(
      `the foreign key ${name} from ${child} to ${parent} could refer to a row of another tenant: add ${options.column} to both sides`,
    )
  }
  await closePassages(query, options)
  await grantViews(query, options)
}

/** The statements that a table still lacks. */
function missing(table: SharedTable, type: string, { schema, column, role }: ProtectOptions): string[] {
  const full = `${quoteIdentifier(schema)}.${quoteIdentifier(table.name)}`
  const tenant = quoteIdentifier(column)
  const policies = tenantPolicies(column, type)
  const stale = table.policies.filter(
    (name) => name.startsWith(POLICY_PREFIX) && !policies.some((policy) => policy.name === name),
  )
  const grantees = ['public', ...(role === null ? [] : [quoteIdentifier(role)])].join(', ')
  return [
    ...(table.enabled ? [] : [`alter table ${full} enable row level security`]),
    ...(table.forced ? [] : [`alter table ${full} force row level security`]),
    ...policies.filter(({ name }) => !table.policies.includes(name)).map((policy) => createPolicy(policy, full)),
    // The new ones stand before the old ones go.
    ...stale.map((name) => `drop policy ${quoteIdentifier(name)} on ${full}`),
    ...(isCurrentTenant(table.default)
      ? []
      : [`alter table ${full} alter ${tenant} set default ${currentTenant(type)}`]),
    ...(table.required === true ? [] : [`alter table ${full} alter ${tenant} set not null`]),
    ...(table.indexed ? [] : [`create index on ${full} (${tenant})`]),
    ...(role === null || table.granted
      ? []
      : [`grant select, insert, update, delete on ${full} to ${quoteIdentifier(role)}`]),
    ...(table.excessive ? [`revoke truncate, references, trigger on ${full} from ${grantees}`] : []),
  ]
}

/** How PostgreSQL writes our default back. */
function isCurrentTenant(expression: string | null): boolean {
  return (
    expression !== null &&
    /^\(?NULLIF\(current_setting\('app\.current_tenant'::text, true\), ''::text\)\)?(::[a-z ]+)?$/.test(expression)
  )
}

function tenantTypeOf({ name, type }: SharedTable, { column }: ProtectOptions): string {
  if (type === null) throw unprotectable(`the table ${name} has no column ${column}`)
  if ((TENANT_TYPES as readonly string[]).includes(type)) return type
  throw unprotectable(`the column ${column} of the table ${name} is ${type}; it can be ${TENANT_TYPES.join(', ')}`)
}

/** With the rights of whoever asks, a view shows what its tables show. */
async function grantViews(query: Query, { schema, role }: ProtectOptions): Promise<void> {
  if (role === null) return
  for (const name of await ungrantedViews(query, schema, role)) {
    await query(
      `grant select, insert, update, delete on ${quoteIdentifier(schema)}.${quoteIdentifier(name)} to ${quoteIdentifier(role)}`,
    )
  }
}

async function closePassages(query: Query, { schema, role }: ProtectOptions): Promise<void> {
  for (const { name, kind } of await passages(query, schema, role)) {
    const full = `${quoteIdentifier(schema)}.${quoteIdentifier(name)}`
    if (kind === 'view') await query(`alter view ${full} set (security_invoker = true)`)
    else if (kind === 'materialized view') {
      // It holds the rows of all tenants and takes no policy.
      await query(`revoke all on ${full} from public${role === null ? '' : `, ${quoteIdentifier(role)}`}`)
    } else throw unprotectable(`the ${kind} ${name} shows rows beside the policies`)
  }
}

function unprotectable(reason: string) {
  return tenancyError('TENANCY_ERR_RLS_UNPROTECTABLE', [reason])
}
