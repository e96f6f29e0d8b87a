import { randomUUID } from 'node:crypto'
import { type Scope, TENANT_SETTING } from '../../../contracts/isolation.ts'
import type { VerifyReport } from '../../../contracts/verification.ts'
import { type Attempt, type Outcome, tryAll } from '../../../verification/canary.ts'
import { check, report } from '../../../verification/report.ts'
import { pass, undone } from '../../../verification/trial.ts'
import { type Layout, layoutOf } from '../layout.ts'
import { locked } from '../lock.ts'
import { ledgerName } from '../namespace-session.ts'
import { fullName, objectsOf } from '../objects.ts'
import { canaryRow, ensureCanary, rowAttempts } from '../rls/canary.ts'
import type { SharedSchema } from '../rls/catalogue.ts'
import { type Finding, inspectRls, RULES } from '../rls/findings.ts'
import { CURRENT_TENANT } from '../scope-batch.ts'
import { effectiveFaults, placeFaults, rightFaults } from './faults.ts'
import { countOf, outcomeOf } from './outcome.ts'
import { LOCK_WAIT_MS, type ScopeTrial, sendOn, servingChecks } from './trial.ts'

/**
 * Finds out whether security policies hold, in three ways: what the catalogue says of every table; whether a tenant that
 * does not exist sees a row in any of them; and what happens when, over the serving connection, one tenant and no tenant
 * try to read, change and refer to the row of another. All that is written is rolled back. Makes the table
 * `__tenancy_canary` if it is not there and repairs nothing.
 */
export async function verifyRls(trial: ScopeTrial): Promise<VerifyReport> {
  const { rights, unscoped } = trial
  const [own, other] = [strangerIn(trial.scope), strangerIn(trial.scope)]
  const layout = layoutOf(own, rights.shared)
  const at: SharedSchema = { layout, column: rights.shared.tenantColumn, ledger: ledgerName(layout) }
  const checks = await servingChecks(trial)
  const found = await prepare(trial, own, at)
  checks.push(check('namespace', found.place))
  if (found.place.length > 0) return report(checks)

  const effective =
    rights.servingUser === undefined
      ? []
      : await undone(unscoped, (query) => effectiveFaults(query, layout, found.names))
  checks.push(check('rights', [...found.rights, ...effective]))
  checks.push(...RULES.map((rule) => check(rule, breachesOf(found.findings, rule))))
  checks.push(check('setting', await settingFaults(trial, own)))
  checks.push(check('rows of the application', await visibleTables(trial, layout, other)))
  checks.push(...(await tryAll(rowAttempts(at), (attempt) => run(trial, at, attempt, { own, other }))))
  return report(
    checks,
    found.findings.filter(({ severity }) => severity === 'warning').map(({ detail }) => detail),
  )
}

/** The scope of a tenant that does not exist. */
function strangerIn({ server }: Scope): Scope {
  const tenantId = randomUUID()
  return { tenantId, server, namespace: 't_verify', strategy: 'rls', settings: { [TENANT_SETTING]: tenantId } }
}

function prepare({ administering, rights: { servingUser } }: ScopeTrial, scope: Scope, at: SharedSchema) {
  const { layout } = at
  const nothing = { names: [], rights: [], findings: [] }
  return administering(({ query }) =>
    locked(
      query,
      scope,
      layout,
      async () => {
        const place = await placeFaults(query, scope, layout)
        if (place.length > 0) return { place, ...nothing }
        await ensureCanary(query, at, servingUser)
        return {
          place,
          names: (await objectsOf(query, layout)).map(({ name }) => name),
          rights: await rightFaults(query, layout, servingUser),
          findings: await inspectRls(query, at),
        }
      },
      LOCK_WAIT_MS,
    ),
  )
}

function breachesOf(found: readonly Finding[], rule: Finding['rule']): string[] {
  return found.filter((one) => one.rule === rule && one.severity === 'breach').map(({ detail }) => detail)
}

/** A statement of its own and one in a transaction must find the tenant, and the next one of nobody must not. */
async function settingFaults({ server }: ScopeTrial, scope: Scope): Promise<string[]> {
  const tenantOn = async (client: object) => {
    const { recordset = [] } = await sendOn(client, `select ${CURRENT_TENANT} as tenant`)
    return (recordset[0] as { tenant: string | null } | undefined)?.tenant
  }
  const transaction = server.lazyTransaction(scope, pass)
  const alone = await tenantOn(server.client(scope, pass))
  const inside = await tenantOn(transaction.client).catch(async (error: unknown) => {
    await transaction.rollback()
    throw error
  })
  await transaction.rollback()
  const after = await tenantOn(server.client({ ...scope, settings: {} }, pass))
  return [
    ...(alone === scope.tenantId ? [] : ['a statement does not carry the tenant']),
    ...(inside === scope.tenantId ? [] : ['a transaction does not carry the tenant']),
    ...(after === null ? [] : ['the tenant outlives its statement']),
  ]
}

/** The tables of which a tenant without any row, or nobody, sees one. */
function visibleTables({ asTenants }: ScopeTrial, layout: Layout, stranger: Scope): Promise<string[]> {
  return asTenants(async (as) => {
    const { recordset = [] } = await as(null)(
      `select t.name from sys.tables t where t.schema_id = schema_id(@p0)
         and has_perms_by_name(quotename(@p0) + N'.' + quotename(t.name), N'OBJECT', N'SELECT') = 1`,
      [layout.schema],
    )
    const names = (recordset as { name: string }[]).map(({ name }) => name)
    if (names.length === 0) return []
    // Without locks: who writes meanwhile is not waited for, and a row that is not committed yet must not be seen either.
    const shown = names.map(
      (name, i) => `select ${i} as i where exists (select 1 from ${fullName(layout, name)} with (nolock))`,
    )
    const faults: string[] = []
    for (const [who, rowKey] of [
      ['another tenant', stranger.tenantId],
      ['no tenant', null],
    ] as const) {
      const { recordset: seen = [] } = await as(rowKey)(shown.join(' union all '))
      faults.push(...(seen as { i: number }[]).map(({ i }) => `${who} sees rows of ${names[i]}`))
    }
    return faults
  })
}

/** One attempt, in a transaction of its own in which the row is made first. */
function run(
  { asTenants }: ScopeTrial,
  at: SharedSchema,
  { who, statements }: Attempt,
  { own, other }: { own: Scope; other: Scope },
): Promise<Outcome> {
  const rowKey = { 'its own tenant': own.tenantId, 'another tenant': other.tenantId, 'no tenant': null }[who]
  return outcomeOf(() =>
    asTenants(async (as) => {
      await as(own.tenantId)(canaryRow(at))
      let last: Outcome = 0
      for (const text of statements) {
        last = countOf(await as(rowKey)(text, text.includes('@p0') ? [own.tenantId] : []))
      }
      return last
    }),
  )
}
