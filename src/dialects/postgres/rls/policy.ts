import { createHash } from 'node:crypto'
import { quoteIdentifier } from '../quote.ts'
import { currentTenant } from './current-tenant.ts'

/** Types that a tenant column may have. */
export const TENANT_TYPES = ['uuid', 'text', 'character varying', 'integer', 'bigint'] as const

/** A policy of ours on one table. */
export interface TenantPolicy {
  /** Carries a hash of the rule: another rule has another name and takes its place. */
  readonly name: string
  readonly permissive: boolean
  /** USING and WITH CHECK. */
  readonly rule: string
}

/** What the names of our policies begin with. */
export const POLICY_PREFIX = 'tenancy_'

/**
 * One permissive policy, without which nothing is visible, and one restrictive, which no other policy can widen. The
 * sub-select is evaluated once for a statement and not once for a row; the column is not cast, or its index would be lost.
 */
export function tenantPolicies(column: string, type: string): readonly TenantPolicy[] {
  const rule = `${quoteIdentifier(column)} = (select ${currentTenant(type)})`
  const hash = createHash('sha256').update(rule).digest('hex').slice(0, 12)
  return [
    { name: `${POLICY_PREFIX}permit_${hash}`, permissive: true, rule },
    { name: `${POLICY_PREFIX}restrict_${hash}`, permissive: false, rule },
  ]
}

/** The statement that creates a policy for every command and role. */
export function createPolicy({ name, permissive, rule }: TenantPolicy, table: string): string {
  const kind = permissive ? 'permissive' : 'restrictive'
  return `create policy ${quoteIdentifier(name)} on ${table} as ${kind} for all to public using (${rule}) with check (${rule})`
}

/**
 * Whether PostgreSQL's own writing of an expression is this one of ours. It adds parentheses, casts of constants and a
 * name for the sub-select; expressions as plain as ours mean the same without any of them.
 */
export function isSameExpression(written: string | null, ours: string): boolean {
  return written !== null && plain(written) === plain(ours)
}

function plain(expression: string): string {
  return expression
    .replaceAll(/ AS "?nullif"?/g, '')
    .replaceAll(/::[a-z ]+/g, '')
    .replaceAll(/[()\s"]/g, '')
    .toLowerCase()
}
