import { eq, sql } from 'drizzle-orm'
import { currentContext, runInContext, TenancyContext } from '../../src/context.ts'
import { migrateNamespace } from '../../src/migrations/runner.ts'
import type { Cell, Db, OpenCell } from '../matrix/cell.ts'
import { migrationOf, scopeOf } from '../matrix/suite.ts'
import { open } from '../support/database.ts'
import { AUTHOR, type CellAttacker, type CellAttempt, type CellOperation, SEEDED_IDS } from './cell-attempt.ts'
import { contextOf, guardOf, NOBODY } from './cell-context.ts'
import { operationsOf } from './cell-operations.ts'
import { Ledger } from './ledger.ts'
import { codeOf } from './operation.ts'
import { type Random, random } from './random.ts'

/** What {@link attackCell} is given. */
export interface CellAttackOptions {
  readonly cell: Cell
  readonly opened: OpenCell
  readonly tenants: number
  readonly operations: number
  readonly workers: number
  readonly seed: number
  /** Whether connections are killed meanwhile, where the cell knows how. */
  readonly chaos: boolean
  /** Whether connections are so scarce, and waits so short, that many an operation gets none. */
  readonly impatient?: boolean
  /** Whether a database refuses to work in the context of another tenant, as it does in the product. Default: yes. */
  readonly guarded?: boolean
  /** Gives the database of a tenant; by default the one that is bound to it. A wrong one must be found out. */
  readonly choose?: (attacker: CellAttacker) => Promise<Db> | Db
}

/** What {@link attackCell} found; `samples` are sentences. */
export interface CellFindings {
  foreign: number
  wrong: number
  /** Operations that failed for a kill, a cancel or too short a wait. */
  disturbed: number
  /** Connections that were killed or cancelled. */
  struck: number
  readonly done: Record<string, number>
  readonly samples: string[]
}

const PATIENCE_MS = 30_000
const CHAOS_EVERY_MS = 60

/** Lets many workers loose on a cell. Never throws for what it finds. */
export async function attackCell(options: CellAttackOptions): Promise<CellFindings> {
  const found: CellFindings = { foreign: 0, wrong: 0, disturbed: 0, struck: 0, done: {}, samples: [] }
  const attackers: CellAttacker[] = []
  for (let i = 0; i < options.tenants; i++) attackers.push(await insistently(() => provision(options, i)))
  const dropped = new Set<Promise<unknown>>()
  const chaos = options.chaos ? keepDisturbing(options.opened, found) : undefined
  const { operations, workers, seed } = options
  const choose = byWeight(operationsOf(options))
  let left = operations
  // Where all is done before a kill met any of it, it goes on until one has.
  let more = 4 * operations
  let title = 0
  const worker = async (number: number) => {
    const numbers = random(seed * 1000 + number)
    while (left-- > 0 || (options.chaos && found.disturbed === 0 && more-- > 0)) {
      await attempt(options, attackers, numbers, found, { dropped, next: () => ++title, operation: choose(numbers) })
    }
  }
  await Promise.all(Array.from({ length: workers }, (_, number) => worker(number)))
  await Promise.all(dropped)
  await chaos?.stop()
  for (const attacker of attackers) await inspect(options, attacker, found)
  return found
}

interface Work {
  readonly operation: CellOperation
  readonly dropped: Set<Promise<unknown>>
  next(): number
}

async function attempt(
  options: CellAttackOptions,
  attackers: readonly CellAttacker[],
  numbers: Random,
  found: CellFindings,
  work: Work,
): Promise<void> {
  const attacker = numbers.pick(attackers)
  const { operation } = work
  const context = contextOf(attacker.scope)
  const announced: string[] = []
  const note = (kind: 'foreign' | 'wrong', what: string) => {
    found[kind]++
    if (found.samples.length < 20) found.samples.push(`${kind}: ${operation.name}: ${what}`)
  }
  const judge = (error: unknown) => {
    if (error === undefined && operation.fails === undefined) return true
    if (error !== undefined && options.chaos && options.opened.isDisturbance?.(error) === true) {
      found.disturbed++
      return false
    }
    if (options.impatient === true && codeOf(error) === 'TENANCY_ERR_POOL_TIMEOUT') {
      found.disturbed++
      for (const title of announced) attacker.ledger.settle(title)
      return false
    }
    if (error !== undefined && options.opened.gaveWay?.(error) === true) {
      for (const title of announced) attacker.ledger.settle(title, `${operation.name} gave way`)
      return false
    }
    // Not disturbed: what was announced and failed is certainly not there.
    if (error !== undefined)
      for (const title of announced) attacker.ledger.settle(title, `${operation.name}: ${describe(error)}`)
    if (error !== undefined && operation.fails === true) return true
    note('wrong', error === undefined ? 'it succeeded' : describe(error))
    return false
  }
  const given: CellAttempt = {
    ...attacker,
    db: (await options.choose?.(attacker)) ?? attacker.db,
    opened: options.opened,
    random: numbers,
    stranger: numbers.pick(attackers),
    guarded: options.guarded ?? true,
    as: (whom, work) => runInContext(contextOf(whom.scope), work),
    outside: (work) => runInContext(new TenancyContext(NOBODY, undefined), work),
    request: () => {
      const { client, commit, rollback } = options.opened.server.lazyTransaction(
        attacker.scope,
        options.guarded === false ? open : guardOf(attacker.scope),
      )
      return { db: options.opened.drizzle(client), commit, rollback }
    },
    newTitle() {
      const title = `${attacker.marker}-${work.next()}`
      attacker.ledger.expect(title)
      announced.push(title)
      return title
    },
    undone() {
      for (const title of announced) attacker.ledger.settle(title, `${operation.name} was undone`)
    },
    saw(rows, least = 0, whose = attacker) {
      for (const { title } of rows) {
        if (!String(title).startsWith(`${whose.marker}-`)) note('foreign', `${whose.marker} saw ${String(title)}`)
      }
      if (rows.length < least) note('wrong', `${whose.marker} saw ${rows.length} of ${least} rows`)
      if (whose === attacker && currentContext() !== context) note('foreign', 'it went on in the context of a stranger')
    },
    report: (what) => note('wrong', what),
    drop(promise) {
      const ended = promise.then(
        () => true,
        (error: unknown) => judge(error),
      )
      work.dropped.add(ended)
      void ended.then(() => work.dropped.delete(ended))
    },
  }
  let timer: NodeJS.Timeout | undefined
  const impatience = new Promise((resolve) => {
    timer = setTimeout(() => resolve(new Error('it hangs')), PATIENCE_MS)
  })
  const outcome = await Promise.race([
    runInContext(context, () => operation.run(given)).then(
      () => undefined,
      (error: unknown) => error ?? new Error('nothing was thrown'),
    ),
    impatience,
  ])
  clearTimeout(timer)
  if (judge(outcome)) found.done[operation.name] = (found.done[operation.name] ?? 0) + 1
}

async function provision(options: CellAttackOptions, number: number): Promise<CellAttacker> {
  const { cell, opened } = options
  const marker = `m${number}`
  const scope = scopeOf(cell)
  const guard = options.guarded === false ? open : guardOf(scope)
  await migrateNamespace({ server: opened.server, scope, migrations: [migrationOf(opened.statements)] })
  const db = opened.drizzle(opened.server.client(scope, guard))
  const { authors, books } = opened.model
  await db.insert(authors).values([
    { id: AUTHOR, name: `Author of ${marker}` },
    // A parent that nobody else has.
    { id: 1000 + number, name: `Only of ${marker}` },
  ])
  await db.insert(books).values(SEEDED_IDS.map((id) => ({ id, authorId: AUTHOR, title: `${marker}-seed-${id}` })))
  const prepared = db
    .select({ title: books.title })
    .from(books)
    .where(eq(books.id, sql.placeholder('id')))
    .prepare('book_of_everybody')
  return { marker, scope, db, prepared, ledger: new Ledger() }
}

/** Every tenant has what it was told that it has, and nothing else. */
async function inspect({ opened }: CellAttackOptions, { marker, db, ledger }: CellAttacker, found: CellFindings) {
  const note = (kind: 'foreign' | 'wrong', what: string) => {
    found[kind]++
    if (found.samples.length < 20) found.samples.push(`${kind}: in the end: ${what}`)
  }
  const { books } = opened.model
  const read = () => db.select({ title: books.title, price: books.price }).from(books)
  // The last kill may still be on its way.
  const rows = await insistently(read).catch((error: unknown) =>
    opened.isDisturbance?.(error) === true ? read() : rethrow(error),
  )
  for (const { title } of rows) if (!title.startsWith(`${marker}-`)) note('foreign', `${marker} has ${title}`)
  const seeds = rows.filter(({ title }) => title.includes('-seed-'))
  if (seeds.length !== SEEDED_IDS.length) note('wrong', `${marker} has ${seeds.length} seeds`)
  for (const difference of ledger.differences(new Map(rows.map(({ title, price }) => [title, price])))) {
    note('wrong', difference)
  }
}

/** Again and again while there is no connection in time; one that came too late is there the next time. */
export async function insistently<T>(work: () => Promise<T>): Promise<T> {
  for (let tries = 0; ; tries++) {
    try {
      return await work()
    } catch (error) {
      if (tries > 200 || codeOf(error) !== 'TENANCY_ERR_POOL_TIMEOUT') throw error
    }
  }
}

function rethrow(error: unknown): never {
  throw error
}

function keepDisturbing(opened: OpenCell, found: CellFindings): { stop(): Promise<void> } {
  const ending = new AbortController()
  const running = (async () => {
    while (!ending.signal.aborted) {
      await new Promise((done) => setTimeout(done, CHAOS_EVERY_MS))
      if ((await opened.disturb?.()) === true) found.struck++
    }
  })()
  return {
    async stop() {
      ending.abort()
      await running
    },
  }
}

function byWeight(operations: readonly CellOperation[]): (numbers: Random) => CellOperation {
  const total = operations.reduce((sum, { weight }) => sum + weight, 0)
  // The rare ones too, a few times each.
  const first = [...operations, ...operations, ...operations]
  return (numbers) => {
    const due = first.shift()
    if (due !== undefined) return due
    let rest = (numbers.below(1_000_000) / 1_000_000) * total
    return operations.find(({ weight }) => (rest -= weight) < 0) ?? (operations[0] as CellOperation)
  }
}

function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const cause = error.cause === undefined ? '' : ` <- ${describe(error.cause)}`
  return `${(error as { code?: string }).code ?? error.name}: ${error.message.split('\n', 1)[0]}${cause}`
}
