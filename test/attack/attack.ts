import { gte, sql } from 'drizzle-orm'
import type pg from 'pg'
import type { TestDatabase } from '../servers/database.ts'
import { type Chaos, startChaos } from './chaos.ts'
import { connections } from './connections.ts'
import { inspectDatabase, inspectPool } from './inspection.ts'
import { Ledger } from './ledger.ts'
import { type Attacker, type Attempt, codeOf, isChaos, mayHaveCommitted, type Operation } from './operation.ts'
import { type Random, random } from './random.ts'
import { databaseOver, items } from './schema.ts'
import { statements } from './statements.ts'
import type { Attacked, Target } from './target.ts'
import { transactions } from './transactions.ts'

/** What {@link attack} is given. */
export interface AttackOptions {
  readonly database: TestDatabase
  readonly target: Target
  readonly tenants: readonly Attacked[]
  /** How many operations are run, over all workers. */
  readonly operations: number
  /** How many go on at the same time; more than the pool has connections. */
  readonly workers: number
  readonly seed: number
  /** Milliseconds between two backends that are cancelled or killed; none without. */
  readonly chaosEveryMs?: number
  /** Which operations; all without. */
  readonly only?: (operation: Operation) => boolean
}

/** What {@link attack} found. All lists hold samples; the numbers count everything. */
export interface Findings {
  readonly operations: number
  /** How often each kind ran to the end that it must have. */
  readonly done: Readonly<Record<string, number>>
  /** Rows whose owner was checked. */
  readonly rows: number
  /** Rows of somebody else that came back or that stand in a tenant's schema, and rows read without a scope. */
  readonly foreign: number
  /** Settings that a connection kept. */
  readonly leftOver: number
  /** Errors and results that nothing explains, writes that do not match what was acknowledged, connections not returned. */
  readonly wrong: number
  readonly samples: readonly string[]
  /** Operations that failed for a kill or cancel. */
  readonly disturbed: number
  readonly acknowledged: number
  readonly killed: number
  readonly cancelled: number
  readonly seconds: number
}

/** An operation that takes longer hangs. */
const PATIENCE_MS = 20_000

const everything: readonly Operation[] = [...statements, ...transactions, ...connections]

/** Lets many workers loose on one scoping, and tells what came out. Never throws for what it finds. */
export async function attack(options: AttackOptions): Promise<Findings> {
  const started = performance.now()
  const watch = new Watch()
  const stopWatching = watchForCrashes(watch)
  const attackers = options.tenants.map((tenant) => attackerOf(tenant, options.target))
  const chaos =
    options.chaosEveryMs === undefined
      ? undefined
      : await startChaos(options.database, random(options.seed), options.chaosEveryMs)
  const choose = byWeight(everything.filter(options.only ?? (() => true)))
  let left = options.operations
  const worker = async (number: number) => {
    const numbers = random(options.seed * 1000 + number)
    while (left-- > 0 && !watch.hangs) await attempt(choose(numbers), numbers, attackers, options.target.pool, watch)
  }
  await Promise.all(Array.from({ length: options.workers }, (_, number) => worker(number)))
  await patiently(Promise.all(watch.dropped), 'work that nobody waits for', watch)
  await chaos?.stop()
  stopWatching()
  const seconds = (performance.now() - started) / 1000
  await inspectPool(options, watch)
  const acknowledged = await inspectDatabase(options, attackers, watch)
  return findings(options, watch, chaos, { acknowledged, seconds })
}

/** Where everything is noted that must not be. */
export class Watch {
  rows = 0
  foreign = 0
  leftOver = 0
  wrong = 0
  disturbed = 0
  hangs = false
  readonly done: Record<string, number> = {}
  readonly dropped = new Set<Promise<unknown>>()
  readonly samples: string[] = []

  note(kind: 'foreign' | 'leftOver' | 'wrong', what: string): void {
    this[kind]++
    if (this.samples.length < 20) this.samples.push(`${kind}: ${what}`)
  }

  owners(owners: readonly unknown[], least: number, { marker }: Attacked, where: string): void {
    this.rows += owners.length
    for (const owner of owners)
      if (owner !== marker) this.note('foreign', `${where}: ${marker} saw a row of ${String(owner)}`)
    if (owners.length < least) this.note('wrong', `${where}: ${marker} saw ${owners.length} of ${least} rows`)
  }
}

/** An error that nobody listens for ends a process. Here it is a find. */
export function watchForCrashes(watch: Pick<Watch, 'note'>): () => void {
  const usual = process.listeners('uncaughtException')
  const crash = (error: unknown) => watch.note('wrong', `the process dies of ${describe(error)}`)
  process.removeAllListeners('uncaughtException')
  process.on('uncaughtException', crash)
  return () => {
    process.removeListener('uncaughtException', crash)
    for (const listener of usual) process.on('uncaughtException', listener)
  }
}

function attackerOf(tenant: Attacked, { clientOf }: Target): Attacker {
  const client = clientOf(tenant) as pg.Pool
  const db = databaseOver(client)
  const query = db
    .select()
    .from(items)
    .where(gte(items.id, sql.placeholder('least')))
    .limit(4)
  return { tenant, client, db, ledger: new Ledger(), prepared: query.prepare('of_everybody') }
}

let references = 0

async function attempt(
  operation: Operation,
  numbers: Random,
  attackers: readonly Attacker[],
  pool: pg.Pool,
  watch: Watch,
): Promise<void> {
  const attacker = numbers.pick(attackers)
  const refs: string[] = []
  const forgiven = (error: unknown) => {
    if (isChaos(error)) watch.disturbed++
    else watch.note('wrong', `${operation.name}, left alone: ${describe(error)}`)
  }
  const given: Attempt = {
    ...attacker,
    random: numbers,
    stranger: numbers.pick(attackers),
    pool,
    newRef() {
      const ref = `${attacker.tenant.marker}-${++references}`
      attacker.ledger.expect(ref)
      refs.push(ref)
      return ref
    },
    saw: (owners, least = 0, whose = attacker.tenant) => watch.owners(owners, least, whose, operation.name),
    leaked: (rows) => watch.note('foreign', `without a scope ${rows} rows were read`),
    report: (what) => watch.note('wrong', `${operation.name}: ${what}`),
    drop(work) {
      const ended = work.catch(afterRelease).catch(forgiven)
      watch.dropped.add(ended)
      void ended.then(() => watch.dropped.delete(ended))
    },
  }
  const error = await patiently(failureOf(operation, given), operation.name, watch)
  const code = codeOf(error)
  if (error !== undefined && !mayHaveCommitted(error)) for (const ref of refs) attacker.ledger.settle(ref)
  if (operation.fails === undefined ? error === undefined : code !== undefined && operation.fails.includes(code)) {
    watch.done[operation.name] = (watch.done[operation.name] ?? 0) + 1
  } else if (error !== undefined && (isChaos(error) || operation.tolerates?.includes(code ?? ''))) watch.disturbed++
  else watch.note('wrong', `${operation.name}: ${describe(error)}`)
}

function afterRelease(error: unknown): void {
  if (codeOf(error) !== 'TENANCY_ERR_TRANSACTION_FINISHED') throw error
}

async function failureOf(operation: Operation, given: Attempt): Promise<unknown> {
  try {
    await operation.run(given)
    return undefined
  } catch (error) {
    return error ?? new Error('nothing was thrown')
  }
}

async function patiently<T>(work: Promise<T>, what: string, watch: Watch): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined
  const impatience = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => {
      watch.hangs = true
      watch.note('wrong', `${what} hangs`)
      resolve(undefined)
    }, PATIENCE_MS)
  })
  const result = await Promise.race([work, impatience])
  clearTimeout(timer)
  return result
}

function byWeight(operations: readonly Operation[]): (numbers: Random) => Operation {
  const total = operations.reduce((sum, { weight }) => sum + weight, 0)
  return (numbers) => {
    let rest = (numbers.below(1_000_000) / 1_000_000) * total
    for (const operation of operations) if ((rest -= operation.weight) < 0) return operation
    return operations[0] as Operation
  }
}

/** The names of all operations, so that a test can see that none was left out. */
export const operationNames: readonly string[] = everything.map(({ name }) => name)

/** An error with its causes, in one line. */
function describe(error: unknown): string {
  if (error === undefined) return 'it succeeded, but must fail'
  if (!(error instanceof Error)) return JSON.stringify(error)
  const cause = error.cause === undefined ? '' : ` <- ${describe(error.cause)}`
  return `${codeOf(error) ?? error.name}: ${error.message.split('\n', 1)[0]}${cause}`
}

function findings(
  { operations }: AttackOptions,
  { rows, foreign, leftOver, wrong, done, samples, disturbed }: Watch,
  chaos: Chaos | undefined,
  totals: { acknowledged: number; seconds: number },
): Findings {
  const [killed, cancelled] = [chaos?.killed ?? 0, chaos?.cancelled ?? 0]
  return { operations, done, rows, foreign, leftOver, wrong, samples, disturbed, ...totals, killed, cancelled }
}
