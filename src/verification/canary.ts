import { randomBytes, randomUUID } from 'node:crypto'
import type { Scope } from '../contracts/isolation.ts'
import type { Check } from '../contracts/verification.ts'
import type { SqlProfile } from '../sql/profile.ts'
import { TENANT_TOKEN } from '../sql/scoped-text.ts'
import { generateNamespace } from '../util/identifier.ts'
import { check } from './report.ts'

/**
 * What the names of canaries begin with: empty tables that are put into a tenant's namespace for the time of one
 * verification. The hour of their birth follows, so that one which a crash left behind is found and removed.
 */
export const CANARY_PREFIX = '__tenancy_canary_'

/** Milliseconds after which nobody can be using a canary any more. */
const LIFETIME = 3_600_000

/** A name for a new canary. */
export function newCanary(): string {
  return `${CANARY_PREFIX}${Date.now().toString(36)}_${randomBytes(3).toString('hex')}`
}

/** Whether this is the name of a canary that a crash left behind. */
export function isStaleCanary(name: string): boolean {
  const [, born] = new RegExp(`^${CANARY_PREFIX}([0-9a-z]{8,9})_[0-9a-f]{6}$`).exec(name) ?? []
  return born !== undefined && Number.parseInt(born, 36) < Date.now() - LIFETIME
}

/** Who tries. `no tenant`: a connection without any scope. */
export type Who = 'its own tenant' | 'another tenant' | 'no tenant'

/** How the database answers what is not to be. */
export type Refusal = 'not found' | 'not allowed' | 'refers to nothing'

/** How many rows were read or changed, or how it was refused. */
export type Outcome = number | Refusal

/** Something that is tried on the canary, and what must come of it. */
export interface Attempt {
  readonly who: Who
  readonly what: string
  /** The last one is judged. */
  readonly statements: readonly string[]
  readonly expected: readonly Outcome[]
  /** Outside of a transaction, as most statements of an application are sent. */
  readonly alone?: true
}

/**
 * What is tried on a canary that is in the namespace of one tenant. What must succeed comes first: where nothing can be
 * read, nothing is proven by reading nothing.
 * @param written whether the tenant's names are written into the text, so that a plain name is nobody's
 */
export function namespaceAttempts(canary: string, { quoteName }: SqlProfile, written: boolean): readonly Attempt[] {
  const plain = quoteName(canary)
  const name = written ? `${quoteName(TENANT_TOKEN)}.${plain}` : plain
  const row = `insert into ${name} (id, parent) values (1, null)`
  const verbs = (table: string) => ({
    read: `select 1 from ${table}`,
    insert: `insert into ${table} (id, parent) values (1, null)`,
    update: `update ${table} set parent = null`,
    delete: `delete from ${table}`,
  })
  const own = (what: string, expected: Outcome, ...statements: string[]): Attempt => ({
    who: 'its own tenant',
    what,
    statements,
    expected: [expected],
  })
  const outOfReach = (who: Who, what: string, statement: string, more: object = {}): Attempt => ({
    who,
    what,
    statements: [statement],
    expected: ['not found', 'not allowed'],
    ...more,
  })
  const all = (who: Who, table: string, how = '') =>
    Object.entries(verbs(table)).map(([verb, statement]) => outOfReach(who, verb + how, statement))
  const { read, update, delete: remove } = verbs(name)
  const heir = `create table ${quoteName(`${canary}_fk`)} (parent integer references ${name} (id))`
  return [
    { ...own('read outside of a transaction', 0, read), alone: true },
    own('read', 1, row, read),
    own('update', 1, row, update),
    own('delete', 1, row, remove),
    own('refer to a row', 1, row, `insert into ${name} (id, parent) values (2, 1)`),
    own('refer to no row', 'refers to nothing', `insert into ${name} (id, parent) values (2, 9)`),
    own('change its table', 'not allowed', `alter table ${name} add column more integer`),
    own('drop its table', 'not allowed', `drop table ${name}`),
    own('truncate', 'not allowed', `truncate table ${name}`),
    ...(written ? all('its own tenant', plain, ' by a plain name') : []),
    outOfReach('another tenant', 'read outside of a transaction', read, { alone: true }),
    ...all('another tenant', name),
    outOfReach('another tenant', 'refer to it', heir),
    ...all('no tenant', plain),
    ...(written ? [outOfReach('no tenant', 'read a name that no tenant was written into', read)] : []),
  ]
}

/** What is tried where the database itself refuses SQL that spells the tenant's name, `full`: who has no tenant has nothing. */
export function wallAttempts(full: string): readonly Attempt[] {
  const statements = {
    read: `select 1 from ${full}`,
    update: `update ${full} set parent = null`,
    delete: `delete from ${full}`,
  }
  return Object.entries(statements).map(([verb, statement]) => ({
    who: 'no tenant',
    what: `${verb} by its full name`,
    statements: [statement],
    expected: ['not allowed'],
  }))
}

/** Tries one after the other; `run` undoes what it did. */
export async function tryAll(
  attempts: readonly Attempt[],
  run: (attempt: Attempt) => Promise<Outcome>,
): Promise<Check[]> {
  const checks: Check[] = []
  for (const attempt of attempts) {
    const outcome = await run(attempt)
    const faults = attempt.expected.includes(outcome)
      ? []
      : [`expected ${attempt.expected.map(told).join(' or ')}, got ${told(outcome)}`]
    checks.push(check(`${attempt.who}: ${attempt.what}`, faults))
  }
  return checks
}

/** The scope of a tenant that does not exist, in the same cell. */
export function strangerTo({ server, strategy }: Scope): Scope {
  const tenantId = randomUUID()
  return Object.freeze({ tenantId, server, strategy, namespace: generateNamespace(tenantId), settings: {} })
}

function told(outcome: Outcome): string {
  return typeof outcome === 'number' ? `${outcome} rows and no refusal` : outcome
}
