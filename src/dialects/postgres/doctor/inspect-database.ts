import type { AdminConnection } from '../../../contracts/dialect.ts'
import type { StrategyName } from '../../../contracts/tenant.ts'
import type { Finding, Inspection } from '../../../contracts/verification.ts'
import { finding, type RuleId } from '../../../verification/rules.ts'
import { checkBaseline } from '../baseline.ts'
import { layoutOf, type SharedSchemas } from '../layout.ts'
import { markOf, schemaMark, sharedSchemaOf } from '../namespace-session.ts'
import { RLS_RULES, rlsFindings } from './rls-rules.ts'
import { SCHEMA_RULES, schemaFindings } from './schema-rules.ts'
import { SERVER_RULES, serverFindings } from './server-rules.ts'

type Query = AdminConnection['query']

/** What {@link inspectDatabase} needs. */
export interface InspectionOptions {
  readonly admin: Query
  /** The serving connection without a scope. */
  readonly serving: Query
  readonly adminRole: string
  readonly strategies: readonly StrategyName[]
  readonly registrySchema: string
  readonly shared: SharedSchemas
  /** One sentence for all that the admin role cannot do for databases of tenants. */
  readonly databaseWarnings?: () => Promise<readonly string[]>
  /** Whether somebody pools transactions unasked; undefined when it cannot be told. */
  readonly hiddenPooler?: () => Promise<boolean | undefined>
}

/** Rules of the baseline. */
const BASE_RULES: readonly RuleId[] = ['rls-1', 'schema-1', 'schema-3', 'schema-4', 'schema-5', 'schema-15', 'base-1']

/** Looks at everything that tenants share, by the catalogue. Changes nothing. */
export async function inspectDatabase(options: InspectionOptions): Promise<Inspection> {
  const { admin, serving, shared, strategies } = options
  const { role, broken } = await checkBaseline(serving, {
    ...shared,
    registrySchema: options.registrySchema,
    adminRole: options.adminRole,
  })
  const rules = new Set<RuleId>([...BASE_RULES, ...SERVER_RULES, ...SCHEMA_RULES])
  const findings: Finding[] = [
    ...broken.map(({ rule, detail, severity }) => finding(rule, role, detail, severity)),
    ...(await serverFindings(admin, role)),
    ...(await schemaFindings(admin, role, shared)),
  ]
  if (strategies.includes('rls')) {
    const found = await sharedFindings(options, role)
    if (found !== undefined) for (const rule of RLS_RULES) rules.add(rule)
    findings.push(...(found ?? []))
  }
  if (strategies.includes('database') && options.databaseWarnings !== undefined) {
    rules.add('base-3')
    const warnings = await options.databaseWarnings()
    findings.push(...warnings.map((warning) => finding('base-3', options.adminRole, warning)))
  }
  const pooled = await options.hiddenPooler?.()
  if (pooled !== undefined) rules.add('schema-11')
  if (pooled === true) findings.push(finding('schema-11', 'databaseUrl', 'two connections share one server session'))
  return Object.freeze({ rules: [...rules], findings })
}

/** Of the shared schema; undefined before the first tenant has made it: there is nothing that could keep a rule, or break it. */
async function sharedFindings(
  { admin, adminRole, shared }: InspectionOptions,
  role: string,
): Promise<Finding[] | undefined> {
  const nobody = { tenantId: '', server: '', namespace: '', strategy: 'rls', settings: {} } as const
  const layout = layoutOf(nobody, shared)
  if ((await markOf(admin, layout.schema)) !== schemaMark(nobody, layout)) return undefined
  const servingRole = role === adminRole ? undefined : role
  return rlsFindings(admin, sharedSchemaOf(layout, { servingRole, shared }))
}
