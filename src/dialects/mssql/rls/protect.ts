import type { AdminConnection } from '../../../contracts/dialect.ts'
import { tenancyError } from '../../../errors.ts'
import { fullName } from '../objects.ts'
import { mssqlProfile } from '../profile.ts'
import { TENANT_SETTING } from '../../../contracts/isolation.ts'
import {
  foreignKeys,
  passages,
  predicates,
  type SharedSchema,
  type SharedTable,
  sharedTables,
  type StoredPredicate,
} from './catalogue.ts'
import {
  createPolicy,
  currentTenant,
  dropPolicy,
  isProtected,
  isTenantType,
  OWN_PREFIX,
  predicateFunction,
  TENANT_TYPES,
  type TenantType,
} from './policy.ts'

type Query = AdminConnection['query']

/** A table whose tenant column can be compared. */
export interface TenantTable extends SharedTable {
  readonly type: TenantType
}

/**
 * Makes the database itself keep tenants apart in every table of the shared schema: a security policy with a filter and a
 * block predicate, NOT NULL and a default for the tenant column, an index that begins with it. What is there already is
 * left as it is, so that a second run changes nothing. The serving user gets its rights afterwards, and not before.
 *
 * Refuses what policies could not hold: a table without a tenant, a foreign key that could refer to another tenant's row, a
 * history table, a routine, a trigger.
 * @throws TENANCY_ERR_RLS_UNPROTECTABLE
 */
export async function protect(query: Query, at: SharedSchema): Promise<void> {
  const tables = (await sharedTables(query, at)).map((table) => assertProtectable(table, at))
  for (const { name, child, parent, withTenant, toShared } of await foreignKeys(query, at)) {
    if (withTenant === 0 && toShared !== 1) {
      throw refusal(
        `the foreign key ${name} from ${child} to ${parent} could refer to a row of another tenant: add ${at.column} to both sides`,
      )
    }
  }
  for (const { name, type } of await passages(query, at)) {
    if (!isOurs(name)) throw refusal(`the ${type} ${name} can read or write rows in ways that policies do not see`)
  }
  if (tables.length === 0) return
  const stored = await predicates(query, at)
  const made = new Set((await passages(query, at)).map(({ name }) => name))
  for (const table of tables) {
    for (const statement of repairs(table, at, stored, made)) await query(statement)
  }
}

/** What one table lacks, in the order in which it must be given. */
export function repairs(
  table: TenantTable,
  at: SharedSchema,
  stored: readonly StoredPredicate[],
  made: Set<string>,
): string[] {
  const { name, type } = table
  const full = fullName(at.layout, name)
  const column = mssqlProfile.quoteName(at.column)
  const { name: functionName, create } = predicateFunction(at, type)
  const found: string[] = []
  const secure = isProtected(at, name, functionName, stored)
  if (!secure) {
    // A changed policy cannot be told from none: it goes, and nobody reads meanwhile, because the table is locked.
    if (stored.some((one) => one.table === name)) found.push(...release(at, name))
    if (table.nullable === true) found.push(`alter table ${full} alter column ${column} ${typeOf(table)} not null`)
  }
  if (!isCurrentTenant(table.default)) {
    if (table.defaultName !== null) {
      found.push(`alter table ${full} drop constraint ${mssqlProfile.quoteName(table.defaultName)}`)
    }
    found.push(`alter table ${full} add default (${currentTenant(type)}) for ${column}`)
  }
  if (table.indexed === 0) {
    found.push(`create index ${mssqlProfile.quoteName(`${OWN_PREFIX}tenant`)} on ${full} (${column})`)
  }
  if (secure) return found
  if (!made.has(functionName)) found.push(create)
  made.add(functionName)
  found.push(createPolicy(at, name, functionName))
  return found
}

/** Whether a default is the tenant of the session: the server writes it anew, with casts and parentheses of its own. */
export function isCurrentTenant(value: string | null): boolean {
  const [, key] = /session_context\s*\(\s*N?'([^']*)'/i.exec(value ?? '') ?? []
  return key === TENANT_SETTING
}

/**
 * Takes the policy off a table, in a transaction in which nobody else can see that: changing a table, however little, locks
 * it against everybody, also those who read without locks, until the transaction ends.
 */
export function release(at: Pick<SharedSchema, 'layout'>, table: string): string[] {
  return [`alter table ${fullName(at.layout, table)} set (lock_escalation = table)`, dropPolicy(at, table)]
}

function assertProtectable(table: SharedTable, { column }: SharedSchema): TenantTable {
  const { name, type, length, special } = table
  if (special === 1) throw refusal(`the table ${name} has a history, is in memory or outside of the database`)
  if (type === null) throw refusal(`the table ${name} has no column ${column}; \`tenantColumn\` names yours`)
  if (!isTenantType(type, length)) {
    throw refusal(
      `the column ${column} of the table ${name} is ${type}; it can be ${TENANT_TYPES.join(', ')}, of length 36`,
    )
  }
  return table as TenantTable
}

function isOurs(name: string): boolean {
  return name.startsWith(OWN_PREFIX)
}

function typeOf({ type, length }: TenantTable): string {
  if (type === 'uniqueidentifier') return type
  return `${type}(${type === 'nvarchar' ? (length ?? 72) / 2 : (length ?? 36)})`
}

function refusal(reason: string) {
  return tenancyError('TENANCY_ERR_RLS_UNPROTECTABLE', [reason])
}
