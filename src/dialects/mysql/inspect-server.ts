import type { AdminConnection } from '../../contracts/dialect.ts'
import type { Finding, Inspection } from '../../contracts/verification.ts'
import { finding, type RuleId } from '../../verification/rules.ts'
import { checkBaseline } from './baseline.ts'
import { wideGrants } from './verify/faults.ts'

type Query = AdminConnection['query']

/** What {@link inspectServer} needs. */
export interface InspectionOptions {
  readonly admin: Query
  /** A serving connection. */
  readonly serving: Query
  readonly accounts: { readonly serving: string; readonly admin: string }
  /** The database of prefixed tables. */
  readonly shared: string | undefined
  /** The database of the registry. */
  readonly registrySchema: string
}

const RULES: readonly RuleId[] = ['mysql-1', 'mysql-2', 'mysql-3', 'mysql-4', 'mysql-5', 'mysql-6']

/** Looks at everything that tenants share. Changes nothing. */
export async function inspectServer({
  admin,
  serving,
  accounts,
  shared,
  registrySchema,
}: InspectionOptions): Promise<Inspection> {
  const grants = (await serving<Record<string, string>>('show grants')).map((row) => Object.values(row)[0] ?? '')
  // One account for both is a rule of its own.
  const breaches = await checkBaseline(serving, { ...accounts, admin: '' }, registrySchema)
  const [variables] = await admin<ServerVariables>(
    'select @@global.sql_mode as mode, @@global.lower_case_table_names as folds',
  )
  const findings = [
    ...breaches.map((breach) => finding('mysql-1', accounts.serving, breach)),
    ...(accounts.serving === accounts.admin
      ? [finding('mysql-2', accounts.serving, 'it is the account of adminDatabaseUrl too')]
      : []),
    ...wideGrants(grants).map((grant) => finding('mysql-3', accounts.serving, grant)),
    ...(variables === undefined ? [] : variableFindings(variables)),
    ...(await engineFindings(admin, shared)),
  ]
  return Object.freeze({ rules: RULES, findings })
}

/** Settings of the server. */
export interface ServerVariables {
  readonly mode: string
  readonly folds: number
}

/** What settings of the server have against isolation. */
export function variableFindings({ mode, folds }: ServerVariables): Finding[] {
  return [
    ...(/ANSI_QUOTES|NO_BACKSLASH_ESCAPES/.test(mode) ? [finding('mysql-4', 'sql_mode', `it is ${mode}`)] : []),
    ...(folds > 1
      ? [
          finding(
            'mysql-5',
            'lower_case_table_names',
            `it is ${folds}: names are kept as written and compared without case`,
          ),
        ]
      : []),
  ]
}

async function engineFindings(query: Query, shared: string | undefined): Promise<Finding[]> {
  const tables = await query<{ place: string; name: string; engine: string }>(
    `select table_schema as place, table_name as name, engine from information_schema.tables
     where table_type = 'BASE TABLE' and engine <> 'InnoDB' and (table_schema regexp '^t[0-9a-z]{25}$' or table_schema = ?)`,
    [shared ?? ''],
  )
  return tables.map(({ place, name, engine }) => finding('mysql-6', `${place}.${name}`, `its engine is ${engine}`))
}
