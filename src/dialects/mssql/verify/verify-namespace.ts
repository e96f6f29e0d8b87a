import type { AdminConnection } from '../../../contracts/dialect.ts'
import type { Check, VerifyReport } from '../../../contracts/verification.ts'
import { tenantName } from '../../../sql/scoped-text.ts'
import {
  isStaleCanary,
  namespaceAttempts,
  newCanary,
  type Outcome,
  strangerTo,
  tryAll,
} from '../../../verification/canary.ts'
import { check, report } from '../../../verification/report.ts'
import { carryOut, undone } from '../../../verification/trial.ts'
import { databaseSettings, settingFaults } from '../database-settings.ts'
import { type Layout, layoutOf } from '../layout.ts'
import { locked } from '../lock.ts'
import { objectsOf } from '../objects.ts'
import { mssqlProfile } from '../profile.ts'
import { codeOf, effectiveFaults, placeFaults, rightFaults, tieFaults } from './faults.ts'
import { countOf, outcomeOf } from './outcome.ts'
import { LOCK_WAIT_MS, type ScopeTrial, sendOn, servingChecks } from './trial.ts'

type Query = AdminConnection['query']

/**
 * Finds out whether a tenant with tables of its own is kept apart: what the catalogue says, and what happens when the tenant
 * itself, another one and nobody try to reach a table that is made for this time.
 */
export async function verifyNamespace(trial: ScopeTrial): Promise<VerifyReport> {
  const { scope, rights } = trial
  const layout = layoutOf(scope, rights.shared)
  const serving = await servingChecks(trial)
  const canary = newCanary()
  const place = (await inPlace(trial, layout, (query) => makeCanary(query, trial, layout, canary), 'locked')) ?? [
    `the database ${layout.database} does not exist`,
  ]
  const checks = [check('namespace', place), ...serving]
  if (place.length > 0) return report(checks)
  try {
    const told = await inPlace(trial, layout, (query) => catalogue(query, trial, layout))
    checks.push(...(told?.checks ?? [check('namespace', ['its database is gone'])]))
    const stranger = strangerTo(scope)
    const tried = await tryAll(namespaceAttempts(canary, mssqlProfile, true), (attempt) =>
      carryOut({ ...trial, stranger, outcomeOn, outcomeOf }, attempt),
    )
    return report([...checks, ...tried], told?.warnings)
  } finally {
    const full = tenantName(canary, layout.ddlNaming, mssqlProfile)
    await inPlace(trial, layout, (query) => query(`drop table if exists ${full}`), 'locked')
  }
}

/** Runs `work` in the database of a layout, and under the lock of the namespace; gives undefined when there is no such database. */
function inPlace<T>(
  { administering, scope, main }: ScopeTrial,
  layout: Layout,
  work: (query: Query) => Promise<T>,
  how: 'locked' | 'beside others' = 'beside others',
): Promise<T | undefined> {
  return administering(({ query, use }) => {
    const inside = async () => {
      const { database } = layout
      if (database === undefined) return work(query)
      const known = await query('select 1 as found from sys.databases where name = @p0', [database])
      if (known.length === 0) return undefined
      await use(database)
      try {
        return await work(query)
      } finally {
        // So that the lock can be released.
        await use(main).catch(() => {})
      }
    }
    return how === 'locked' ? locked(query, scope, layout, inside, LOCK_WAIT_MS) : inside()
  })
}

/** Puts the canary in, and takes out what a crash left. @returns why nothing was put in, because it may be somebody else's */
async function makeCanary(
  query: Query,
  { scope, rights: { servingUser } }: ScopeTrial,
  layout: Layout,
  canary: string,
): Promise<string[]> {
  const place = await placeFaults(query, scope, layout)
  if (place.length > 0) return place
  const named = (name: string) => tenantName(name, layout.ddlNaming, mssqlProfile)
  for (const { name } of await objectsOf(query, layout)) {
    const plain = name.slice(layout.naming.prefix.length)
    if (isStaleCanary(plain)) await query(`drop table if exists ${named(plain)}`)
  }
  await query(
    `create table ${named(canary)} (id int not null primary key, parent int references ${named(canary)} (id))`,
  )
  if (servingUser !== undefined) {
    const user = mssqlProfile.quoteName(servingUser)
    await query(`grant select, insert, update, delete on ${named(canary)} to ${user}`)
  }
  return []
}

async function catalogue(
  query: Query,
  { rights: { servingUser, sharedTables }, unscoped }: ScopeTrial,
  layout: Layout,
): Promise<{ checks: Check[]; warnings: string[] }> {
  const names = (await objectsOf(query, layout)).map(({ name }) => name)
  const given = await rightFaults(query, layout, servingUser)
  const effective =
    servingUser === undefined ? [] : await undone(unscoped, (serving) => effectiveFaults(serving, layout, names))
  const code = await codeOf(query, layout)
  const checks = [
    check('rights', [...given, ...effective]),
    check('ties', await tieFaults(query, layout, sharedTables?.schema)),
    check('code', code.faults),
    ...(layout.database === undefined
      ? []
      : [check('database', (await databaseSettings(query, 'own')).flatMap(settingFaults))]),
  ]
  return { checks, warnings: code.warnings }
}

async function outcomeOn(client: object, statements: readonly string[]): Promise<Outcome> {
  let last: Outcome = 0
  for (const text of statements) last = countOf(await sendOn(client, text))
  return last
}
