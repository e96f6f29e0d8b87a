import type { AdminConnection } from '../../../contracts/dialect.ts'
import {
  captured,
  foreignKeys,
  oracles,
  passages,
  predicates,
  type SharedSchema,
  type SharedTable,
  sharedTables,
  type StoredPredicate,
} from './catalogue.ts'
import { isProtected, isTenantType, OWN_PREFIX, predicateFunction } from './policy.ts'
import { isCurrentTenant } from './protect.ts'

/** What is asked of the shared schema. */
export const RULES = [
  'tenant column',
  'policies',
  'copies',
  'required',
  'default',
  'index',
  'foreign keys',
  'unique keys',
  'code',
] as const

/** Something in the shared schema that is not as it must or should be. */
export interface Finding {
  /** The table, key or routine. */
  readonly object: string
  readonly rule: (typeof RULES)[number]
  /** One sentence that names the object. */
  readonly detail: string
  /** `breach`: rows of another tenant could be read, written or referred to. `warning`: they could not. */
  readonly severity: 'breach' | 'warning'
}

type Query = AdminConnection['query']

/** Everything that is wrong in the shared schema, read from the catalogue. Changes nothing. */
export async function inspectRls(query: Query, at: SharedSchema): Promise<Finding[]> {
  const stored = await predicates(query, at)
  return [
    ...(await sharedTables(query, at)).flatMap((table) => tableFindings(table, at, stored)),
    ...(await captured(query, at)).map((name) =>
      breach(
        name,
        'copies',
        `changes of the table ${name} are captured without a gating role: who reads it reads them all`,
      ),
    ),
    ...(await foreignKeys(query, at))
      .filter(({ withTenant, toShared }) => withTenant === 0 && toShared !== 1)
      .map(({ name, child, parent }) =>
        breach(
          name,
          'foreign keys',
          `the foreign key ${name} from ${child} to ${parent} has no ${at.column} on both sides`,
        ),
      ),
    ...(await oracles(query, at)).map(({ table, index }) =>
      warning(
        index,
        'unique keys',
        `the unique index ${index} of ${table} has no ${at.column}: its error tells of others`,
      ),
    ),
    ...(await passages(query, at))
      .filter(({ name }) => !name.startsWith(OWN_PREFIX))
      .map(({ name, type }) =>
        breach(name, 'code', `the ${type} ${name} can read or write rows in ways that policies do not see`),
      ),
  ]
}

/** What is wrong with one table. */
export function tableFindings(
  { name, type, length, nullable, default: value, indexed, special }: SharedTable,
  at: SharedSchema,
  stored: readonly StoredPredicate[],
): Finding[] {
  const { column } = at
  if (!isTenantType(type, length)) {
    return [breach(name, 'tenant column', `the table ${name} has no column ${column} that can hold a tenant`)]
  }
  const { name: functionName } = predicateFunction(at, type)
  return [
    ...(isProtected(at, name, functionName, stored)
      ? []
      : [breach(name, 'policies', `no policy of ours with a filter and a block predicate is in force on ${name}`)]),
    ...(special === 1
      ? [breach(name, 'copies', `the table ${name} has a history, is in memory or outside of the database`)]
      : []),
    ...(nullable === true
      ? [warning(name, 'required', `${column} of ${name} can be null: such a row is nobody's`)]
      : []),
    ...(isCurrentTenant(value) ? [] : [warning(name, 'default', `${column} of ${name} does not fill itself`)]),
    ...(indexed === 1 ? [] : [warning(name, 'index', `no index of ${name} begins with ${column}`)]),
  ]
}

function breach(object: string, rule: Finding['rule'], detail: string): Finding {
  return { object, rule, detail, severity: 'breach' }
}

function warning(object: string, rule: Finding['rule'], detail: string): Finding {
  return { object, rule, detail, severity: 'warning' }
}
