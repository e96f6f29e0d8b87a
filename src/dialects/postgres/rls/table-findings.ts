import { quoteIdentifier } from '../quote.ts'
import type { SharedSchema, SharedTable, StoredPolicy } from './catalogue.ts'
import type { Finding } from './findings.ts'
import { currentTenant } from './current-tenant.ts'
import {
  createPolicy,
  isSameExpression,
  POLICY_PREFIX,
  TENANT_TYPES,
  type TenantPolicy,
  tenantPolicies,
} from './policy.ts'

/** What one table lacks, in the order in which it must be given: the serving role gets rows last. */
export function tableFindings(table: SharedTable, { schema, column, role }: SharedSchema): Finding[] {
  const { name, type } = table
  if (type === null) {
    const detail = `the table ${name} has no column ${column}; \`tenantKeys()\` makes it, or \`tenantColumn\` names yours`
    return [lacking(name, 'tenant column', detail)]
  }
  if (!(TENANT_TYPES as readonly string[]).includes(type)) {
    const detail = `the column ${column} of the table ${name} is ${type}; it can be ${TENANT_TYPES.join(', ')}`
    return [lacking(name, 'tenant column', detail)]
  }
  if (!table.exact) {
    const detail = `the collation of ${column} of the table ${name} takes different tenants for the same one`
    return [lacking(name, 'tenant column', detail)]
  }
  const full = `${quoteIdentifier(schema)}.${quoteIdentifier(name)}`
  const tenant = quoteIdentifier(column)
  const alter = (change: string) => [`alter table ${full} ${change}`]
  const grantees = ['public', ...(role === null ? [] : [quoteIdentifier(role)])].join(', ')
  const found: Finding[] = []
  const add = (wrong: boolean, ...finding: Parameters<typeof lacking>) => {
    if (wrong) found.push(lacking(...finding))
  }
  add(table.owned, name, 'owner', `the serving role owns the table ${name} and could switch its policies off`)
  add(!table.enabled, name, 'enabled', `row security of the table ${name} is off`, alter('enable row level security'))
  add(!table.forced, name, 'forced', `the owner of ${name} is not bound`, alter('force row level security'))
  const policies = policyRepairs(table.policies, tenantPolicies(column, type), full)
  add(
    policies.length > 0,
    name,
    'policies',
    `the table ${name} lacks our policies or has others in their place`,
    policies,
  )
  add(
    table.required !== true,
    name,
    'required',
    `${column} of ${name} can be null`,
    alter(`alter ${tenant} set not null`),
  )
  add(
    table.excess.length > 0,
    name,
    'rights',
    `the serving role or everybody has ${table.excess.join(', ')} on the table ${name}`,
    [`revoke ${table.excess.join(', ')} on ${full} from ${grantees}`],
  )
  const value = currentTenant(type)
  if (!isSameExpression(table.default, value)) {
    const repair = alter(`alter ${tenant} set default ${value}`)
    found.push(warning(name, 'default', `${column} of ${name} is not filled in by itself`, repair))
  }
  if (!table.indexed) {
    found.push(
      warning(name, 'index', `no index of ${name} begins with ${column}`, [`create index on ${full} (${tenant})`]),
    )
  }
  for (const stranger of table.policies) {
    if (!stranger.permissive || stranger.name.startsWith(POLICY_PREFIX)) continue
    found.push(warning(name, 'policies', `the policy ${stranger.name} of ${name} is not ours: it can only narrow`))
  }
  if (role !== null && !table.granted) {
    const repair = [`grant select, insert, update, delete on ${full} to ${quoteIdentifier(role)}`]
    found.push(warning(name, 'grants', `the serving role cannot use the table ${name}`, repair))
  }
  return found
}

function policyRepairs(stored: readonly StoredPolicy[], wanted: readonly TenantPolicy[], full: string): string[] {
  const isRight = (policy: TenantPolicy) =>
    stored.some(
      ({ name, permissive, general, using, check }) =>
        name === policy.name &&
        permissive === policy.permissive &&
        general &&
        isSameExpression(using, policy.rule) &&
        isSameExpression(check, policy.rule),
    )
  const lacking = wanted.filter((policy) => !isRight(policy))
  const drop = (name: string) => `drop policy ${quoteIdentifier(name)} on ${full}`
  const isStored = ({ name }: TenantPolicy) => stored.some((policy) => policy.name === name)
  const isStale = ({ name }: StoredPolicy) =>
    name.startsWith(POLICY_PREFIX) && !wanted.some((policy) => policy.name === name)
  return [
    ...lacking.filter(isStored).map(({ name }) => drop(name)),
    ...lacking.map((policy) => createPolicy(policy, full)),
    // The new ones stand before the old ones go.
    ...stored.filter(isStale).map(({ name }) => drop(name)),
  ]
}

function lacking(object: string, rule: Finding['rule'], detail: string, repair: readonly string[] = []): Finding {
  return { object, rule, detail, severity: 'breach', repair }
}

function warning(object: string, rule: Finding['rule'], detail: string, repair: readonly string[] = []): Finding {
  return { object, rule, detail, severity: 'warning', repair }
}
