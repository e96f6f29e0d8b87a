import { randomInt, randomUUID } from 'node:crypto'
import type { AdminConnection } from '../../../contracts/dialect.ts'
import { type Scope, TENANT_SETTING } from '../../../contracts/isolation.ts'
import type { Check, VerifyReport } from '../../../contracts/verification.ts'
import { check, report } from '../../../verification/report.ts'
import { pass } from '../../../verification/trial.ts'
import { checkBaseline } from '../baseline.ts'
import { layoutOf, type SharedSchemas } from '../layout.ts'
import { lockNamespace, markOf, schemaMark, sharedSchemaOf } from '../namespace-session.ts'
import { quoteIdentifier } from '../quote.ts'
import { queryOn, rolledBack, type TrialServer } from '../verify/trial.ts'
import { type Attempt, attempts, canaryRow, ensureCanary, hasCanary } from './canary.ts'
import { type SharedSchema, type SharedTable, sharedTables } from './catalogue.ts'
import { type Finding, inspect, RULES } from './findings.ts'

type Server = TrialServer
type Query = AdminConnection['query']

/**
 * Finds out whether row-level security holds, in three ways: what the catalogue says of every table; whether a tenant that
 * does not exist sees a row in any of them; and what happens when, over the serving connection, one tenant and no tenant
 * try to read, change and refer to the row of another. All that is written is rolled back. Makes the table
 * `__tenancy_canary` if it is not there and repairs nothing.
 *
 * `ok: false` means that it does not hold. Not to find out is an error.
 * @throws TENANCY_ERR_DATABASE_UNAVAILABLE, TENANCY_ERR_POOL_TIMEOUT, and what the database answers unexpectedly
 */
export async function verifyRls(server: Server, shared: SharedSchemas): Promise<VerifyReport> {
  const [own, other] = [newScope(), newScope()]
  const { role, bypasses } = await baselineOf(server, own, shared)
  const layout = layoutOf(own, shared)
  const admin = await currentRole(server.admin.query)
  const at = sharedSchemaOf(layout, { servingRole: role === admin ? undefined : role, shared })
  const checks = [check('serving role', bypasses)]
  const missing = await schemaFault(server.admin.query, at.schema, schemaMark(own, layout))
  if (missing !== undefined) return report([...checks, check('shared schema', [missing])], [])

  if (!(await hasCanary(server.admin.query, at))) {
    await server.admin.transaction(async (query) => {
      await lockNamespace(query, own, layout)
      await ensureCanary(query, at)
    })
  }
  const found = await inspect(server.admin.query, at)
  checks.push(...RULES.map((rule) => check(rule, breachesOf(found, rule))))
  checks.push(check('setting', await settingFaults(server, own)))
  checks.push(check('rows of the application', await visibleTables(server, other, at)))
  for (const attempt of attempts(at)) checks.push(await tried(server, { own, other, at }, attempt))
  return report(
    checks,
    found.filter(({ severity }) => severity === 'warning').map(({ detail }) => detail),
  )
}

/** The scope of a tenant that does not exist. */
function newScope(): Scope {
  const tenantId = randomUUID()
  return { tenantId, server: 'main', namespace: 't_verify', strategy: 'rls', settings: { [TENANT_SETTING]: tenantId } }
}

function breachesOf(found: readonly Finding[], rule: Finding['rule']): string[] {
  return found.filter((one) => one.rule === rule && one.severity === 'breach').map(({ detail }) => detail)
}

async function currentRole(query: Query): Promise<string> {
  const [row] = await query<{ role: string }>('select current_user::text as role')
  return row?.role ?? ''
}

/** What the serving role could do, asked as itself. */
async function baselineOf(server: Server, scope: Scope, { extensionsSchema, rlsSchema }: SharedSchemas) {
  const adminRole = await currentRole(server.admin.query)
  return rolledBack(server, scope, (query) =>
    // Only what bypasses policies is looked at here.
    checkBaseline(query, { registrySchema: '', adminRole, extensionsSchema, rlsSchema }),
  )
}

async function schemaFault(query: Query, schema: string, mark: string): Promise<string | undefined> {
  const found = await markOf(query, schema)
  if (found === undefined) return `the schema ${schema} does not exist yet; the first tenant makes it`
  return found === mark ? undefined : `the schema ${schema} was not made by fastify-tenancy`
}

/** A statement of its own and one in a transaction must find the tenant, and the next one must not. */
async function settingFaults(server: Server, scope: Scope): Promise<string[]> {
  const text = `select pg_catalog.current_setting('${TENANT_SETTING}', true) as value`
  const valueOf = async (query: Query) => (await query<{ value: string | null }>(text))[0]?.value ?? ''
  const none = { ...scope, settings: {} }
  return [
    ...((await valueOf(queryOn(server.client(scope, pass)))) === scope.tenantId
      ? []
      : ['a statement does not carry the tenant']),
    ...((await rolledBack(server, scope, valueOf)) === scope.tenantId
      ? []
      : ['a transaction does not carry the tenant']),
    ...((await valueOf(queryOn(server.client(none, pass)))) === '' ? [] : ['the tenant outlives its statement']),
  ]
}

/** The tables of which a tenant without any row, or nobody, sees one. */
async function visibleTables(server: Server, stranger: Scope, at: SharedSchema): Promise<string[]> {
  const tables = (await sharedTables(server.admin.query, at)).filter(({ granted }) => granted || at.role === null)
  const [numbers, texts] = [tables.filter(isNumbered), tables.filter((table) => !isNumbered(table))]
  const settings = { [TENANT_SETTING]: String(-randomInt(1, 2 ** 31)) }
  return [
    ...(await visibleAmong(server, stranger, at, texts)),
    ...(await visibleAmong(server, { ...stranger, settings }, at, numbers)),
  ]
}

function isNumbered({ type }: SharedTable): boolean {
  return type === 'integer' || type === 'bigint'
}

async function visibleAmong(
  server: Server,
  stranger: Scope,
  at: SharedSchema,
  tables: readonly SharedTable[],
): Promise<string[]> {
  const shown = (name: string, i: number) =>
    `select ${i} as i where exists (select from ${quoteIdentifier(at.schema)}.${quoteIdentifier(name)})`
  if (tables.length === 0) return []
  const text = tables.map(({ name }, i) => shown(name, i)).join(' union all ')
  const faults: string[] = []
  for (const [who, scope] of [
    ['another tenant', stranger],
    ['no tenant', { ...stranger, settings: {} }],
  ] as const) {
    const seen = await rolledBack(server, scope, (query) => query<{ i: number }>(text))
    faults.push(...seen.map(({ i }) => `${who} sees rows of ${tables[i]?.name}`))
  }
  return faults
}

/** One attempt, in a transaction of its own in which the row is made first. */
async function tried(
  server: Server,
  { own, other, at }: { own: Scope; other: Scope; at: SharedSchema },
  { name, as, statements, expected }: Attempt,
): Promise<Check> {
  const who = { 'its own tenant': own.tenantId, 'another tenant': other.tenantId, 'no tenant': '' }[as]
  const outcome = await rolledBack(server, own, async (query) => {
    const made = await outcomeOf(query, canaryRow(at), own.tenantId)
    if (typeof made === 'string') return `${made} before the attempt: the row's own tenant could not make it`
    await query('select pg_catalog.set_config($1, $2, true)', [TENANT_SETTING, who])
    let last: number | string = 0
    for (const text of statements) last = await outcomeOf(query, text, own.tenantId)
    return last
  })
  return check(name, outcome === expected ? [] : [`expected ${told(expected)}, got ${told(outcome)}`])
}

function told(outcome: number | string): string {
  return typeof outcome === 'number' ? `${outcome} rows and no refusal` : `the refusal ${outcome}`
}

/** SQLSTATEs by which rights, policies and constraints refuse; any other error says nothing about them. */
const REFUSAL = /^(42501|23...)$/

async function outcomeOf(query: Query, text: string, tenant: string): Promise<number | string> {
  try {
    return (await query(text, text.includes('$1') ? [tenant] : [])).length
  } catch (error) {
    const code = (error as { code?: unknown }).code
    if (typeof code === 'string' && REFUSAL.test(code)) return code
    throw error
  }
}
