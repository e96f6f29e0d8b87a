import { createHash } from 'node:crypto'
import { prefixedName } from '../../../sql/naming.ts'
import { fullName } from '../objects.ts'
import { mssqlProfile } from '../profile.ts'
import { CURRENT_TENANT } from '../scope-batch.ts'
import type { SharedSchema, StoredPredicate } from './catalogue.ts'

/** What the names of our policies and functions begin with. */
export const OWN_PREFIX = '__tenancy_'

/** Types that the tenant column may have: they hold the id of a tenant, and an index can begin with them. */
export const TENANT_TYPES = ['uniqueidentifier', 'nvarchar', 'varchar'] as const
/** One of {@link TENANT_TYPES}. */
export type TenantType = (typeof TENANT_TYPES)[number]

/** Whether a column of this type and length can hold a tenant. */
export function isTenantType(type: string | null, length: number | null): type is TenantType {
  return (TENANT_TYPES as readonly (string | null)[]).includes(type) && length !== -1
}

/** The tenant of the session in the type of the column: what is cast is the constant, never the column. */
export function currentTenant(type: TenantType): string {
  return type === 'nvarchar' ? CURRENT_TENANT : `cast(${CURRENT_TENANT} as ${typeText(type)})`
}

/** The function that tells whether a row is the session's tenant's, by a name that changes with what it does. */
export function predicateFunction({ layout }: SharedSchema, type: TenantType) {
  const body =
    `(@tenant ${typeText(type)}) returns table with schemabinding as return ` +
    `(select 1 as allowed where @tenant = ${currentTenant(type)})`
  const name = `${OWN_PREFIX}${type}_${createHash('sha256').update(body).digest('hex').slice(0, 8)}`
  return Object.freeze({ name, create: `create function ${fullName(layout, name)} ${body}` })
}

/** The name of the policy of a table: one each, so that a table can be changed without the others. */
export function policyName(table: string): string {
  return prefixedName(OWN_PREFIX, table, mssqlProfile.maxNameBytes)
}

/** CREATE SECURITY POLICY for one table: rows of others are neither found nor written. */
export function createPolicy({ layout, column }: SharedSchema, table: string, functionName: string): string {
  const predicate = `predicate ${fullName(layout, functionName)}(${mssqlProfile.quoteName(column)}) on ${fullName(layout, table)}`
  return (
    `create security policy ${fullName(layout, policyName(table))} add filter ${predicate}, add block ${predicate} ` +
    `with (state = on, schemabinding = on)`
  )
}

/** DROP SECURITY POLICY of one table. */
export function dropPolicy({ layout }: Pick<SharedSchema, 'layout'>, table: string): string {
  return `drop security policy if exists ${fullName(layout, policyName(table))}`
}

/** Whether both predicates of a table are in force, and are ours. */
export function isProtected(
  { layout, column }: SharedSchema,
  table: string,
  functionName: string,
  stored: readonly StoredPredicate[],
): boolean {
  const wanted = plain(`${layout.schema}.${functionName}(${column})`)
  const own = stored.filter((one) => one.table === table && one.policy === policyName(table))
  const has = (type: StoredPredicate['type']) =>
    own.some((one) => one.type === type && one.operation === null && plain(one.definition) === wanted)
  return has('FILTER') && has('BLOCK')
}

/** SQL Server writes brackets, parentheses and spaces as it likes. */
function plain(definition: string): string {
  return definition.replace(/[\s[\]()]/g, '').toLowerCase()
}

function typeText(type: TenantType): string {
  return type === 'uniqueidentifier' ? type : `${type}(36)`
}
