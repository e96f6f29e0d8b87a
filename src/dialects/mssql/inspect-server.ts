import type { AdminConnection } from '../../contracts/dialect.ts'
import type { SharedTables } from '../../contracts/shared-tables.ts'
import type { StrategyName } from '../../contracts/tenant.ts'
import type { Finding, Inspection } from '../../contracts/verification.ts'
import { finding, type RuleId } from '../../verification/rules.ts'
import { checkBaseline } from './baseline.ts'
import { chainsEverywhere, databaseSettings, settingFaults } from './database-settings.ts'
import { HARMLESS, type HeldRight, principalsOf, rightsOf } from './held-rights.ts'
import { layoutOf, type SharedSchemas } from './layout.ts'
import { markOfSchema, marksOfSchemas, schemaMark } from './marks.ts'
import { LEDGER, ledgerName } from './namespace-session.ts'
import { registryBreaches } from './registry-rights.ts'
import { type Finding as RlsFinding, inspectRls } from './rls/findings.ts'
import { ROW_KEYS } from './rls/row-keys.ts'
import { modulesOf, tiesOf } from './ties.ts'

type Query = AdminConnection['query']

/** What {@link inspectServer} needs. */
export interface InspectionOptions {
  readonly admin: Query
  /** A serving connection. */
  readonly serving: Query
  readonly adminLogin: string
  /** The schema of the registry. */
  readonly registrySchema: string
  readonly shared: SharedSchemas
  readonly sharedTables: SharedTables | undefined
  readonly strategies: readonly StrategyName[]
}

const RULES: readonly RuleId[] = [
  'mssql-1',
  'mssql-2',
  'mssql-7',
  'mssql-8',
  'mssql-9',
  'mssql-10',
  'mssql-11',
  'mssql-12',
]
const RLS_RULES: readonly RuleId[] = ['mssql-3', 'mssql-4', 'mssql-5', 'mssql-6']
const RULE_OF = {
  policies: 'mssql-3',
  'tenant column': 'mssql-4',
  copies: 'mssql-4',
  required: 'mssql-5',
  default: 'mssql-5',
  index: 'mssql-5',
  'unique keys': 'mssql-6',
  'foreign keys': 'mssql-7',
  code: 'mssql-8',
} as const satisfies Record<RlsFinding['rule'], RuleId>

const NAMESPACE = /^t[0-9a-z]{25}$/
const PREFIX = /^t[0-9a-z]{25}__/
const ROWS = new Set(['SELECT', 'INSERT', 'UPDATE', 'DELETE'])

/** Looks at everything that tenants share. Changes nothing. */
export async function inspectServer(options: InspectionOptions): Promise<Inspection> {
  const { admin, serving, adminLogin, registrySchema, strategies } = options
  // One login for both is a rule of its own.
  const { login, user, bypasses, reachable } = await checkBaseline(serving, '')
  const alone = login === adminLogin
  const rights = alone ? [] : await rightsOf(admin, await principalsOf(admin, user))
  const findings = [
    ...bypasses.map((bypass) => finding('mssql-1', login, `it ${bypass}`)),
    ...(await registryBreaches(serving, registrySchema)).map((breach) => finding('mssql-1', login, breach)),
    ...(alone ? [finding('mssql-2', login, 'it is the login of adminDatabaseUrl too')] : []),
    ...rightFindings(rights, options, login, bypasses),
    ...reachable.map((name) => finding('mssql-11', name, 'a plain name in raw SQL finds it')),
    ...(await tieFindings(options, rights, alone)),
    ...(await codeFindings(options, rights, alone)),
    ...(await settingFindings(admin)),
    ...(await markFindings(admin)),
  ]
  if (!strategies.includes('rls')) return Object.freeze({ rules: RULES, findings })
  const found = await rlsFindings(options)
  return Object.freeze({
    rules: [...RULES, ...(found === undefined ? [] : RLS_RULES)],
    findings: [...findings, ...(found ?? [])],
  })
}

/** Where an object is: in the place of one tenant, among the tables that are shared one way or the other, or elsewhere. */
function placeOf(schema: string, name: string, { shared, sharedTables }: InspectionOptions): string | undefined {
  if (NAMESPACE.test(schema) || schema === shared.rlsSchema || schema === sharedTables?.schema) return schema
  if (schema !== shared.prefixSchema) return undefined
  return PREFIX.exec(name)?.[0] ?? undefined
}

function rightFindings(
  rights: readonly HeldRight[],
  options: InspectionOptions,
  login: string,
  bypasses: readonly string[],
): Finding[] {
  const { shared } = options
  const isTenants = (schema: string) =>
    NAMESPACE.test(schema) || schema === shared.rlsSchema || schema === shared.prefixSchema
  return rights.flatMap(({ on, permission, schema, object, grantee }) => {
    const told = (what: string) => [finding('mssql-1', login, `it has ${permission} on ${what} as ${grantee}`)]
    if (on === 'DATABASE') {
      const known = HARMLESS.has(permission) || bypasses.includes(`has ${permission} on the whole database`)
      return known ? [] : told('the whole database')
    }
    if (on === 'DATABASE_PRINCIPAL')
      return ['IMPERSONATE', 'CONTROL'].includes(permission) ? told(`the user ${object}`) : []
    if (schema === null || !isTenants(schema)) return []
    if (on === 'SCHEMA') return told(`the schema ${schema}`)
    return ROWS.has(permission) && object !== ROW_KEYS && object?.endsWith(LEDGER) !== true
      ? []
      : told(`${schema}.${object}`)
  })
}

/** Keys and names that lead from one place to another, and by which somebody could read or write what is not its own. */
async function tieFindings(
  options: InspectionOptions,
  rights: readonly HeldRight[],
  alone: boolean,
): Promise<Finding[]> {
  const { admin, shared, sharedTables, strategies } = options
  const findings: Finding[] = []
  for (const { kind, name, fromSchema, from, toSchema, to } of await tiesOf(admin)) {
    const here = placeOf(fromSchema, from, options)
    const there = toSchema === null ? undefined : placeOf(toSchema, to, options)
    if (here === there || (here !== undefined && there === sharedTables?.schema && toSchema === there)) continue
    if (kind === 'foreign key') {
      // Those of tables that tenants share are looked at with these.
      if (strategies.includes('rls') && [here, there].includes(shared.rlsSchema)) continue
      findings.push(finding('mssql-7', name, 'it ties a table of a tenant to one that is not its own'))
      continue
    }
    const used =
      alone || here !== undefined || rights.some(({ schema, object }) => schema === fromSchema && object === name)
    const detail = `the ${kind} reads or writes what is in another place than itself`
    findings.push(finding('mssql-9', `${fromSchema}.${name}`, detail, used ? 'error' : 'warning'))
  }
  return findings
}

/** Code that runs as somebody else, in the place of a tenant or where who serves can use it. */
async function codeFindings(
  options: InspectionOptions,
  rights: readonly HeldRight[],
  alone: boolean,
): Promise<Finding[]> {
  return (await modulesOf(options.admin)).flatMap(({ schema, table, name, type, impersonates }) => {
    if (impersonates === 0) return []
    const used =
      alone || rights.some((right) => right.schema === schema && (right.object === name || right.object === null))
    if (!used && placeOf(schema, table, options) === undefined) return []
    return [finding('mssql-8', `${schema}.${name}`, `the ${type} runs with the rights of somebody else (EXECUTE AS)`)]
  })
}

async function settingFindings(query: Query): Promise<Finding[]> {
  const [own] = await databaseSettings(query, 'own')
  const databases = (await databaseSettings(query, 'all')).filter(
    ({ name }) => name === own?.name || NAMESPACE.test(name),
  )
  return [
    ...databases.flatMap((database) =>
      settingFaults(database).map((fault) => finding('mssql-10', database.name, fault)),
    ),
    ...((await chainsEverywhere(query))
      ? [finding('mssql-10', 'cross db ownership chaining', 'it is on for the whole server')]
      : []),
  ]
}

/** Schemas that are named like a tenant's and are none. */
async function markFindings(query: Query): Promise<Finding[]> {
  return (await marksOfSchemas(query))
    .filter(({ name, mark }) => NAMESPACE.test(name) && mark?.startsWith('tenant ') !== true)
    .map(({ name }) => finding('mssql-12', name, 'it has no mark of a tenant'))
}

/** Undefined while nothing is shared yet, or it is by somebody else: there is nothing that could keep a rule, or break it. */
async function rlsFindings({ admin, shared }: InspectionOptions): Promise<Finding[] | undefined> {
  const scope = { tenantId: '', server: '', namespace: '', strategy: 'rls', settings: {} } as const
  const layout = layoutOf(scope, shared)
  if ((await markOfSchema(admin, layout.schema)) !== schemaMark(scope, layout)) return undefined
  const found = await inspectRls(admin, { layout, column: shared.tenantColumn, ledger: ledgerName(layout) })
  return found.map(({ rule, object, detail }) => finding(RULE_OF[rule], object, detail))
}
