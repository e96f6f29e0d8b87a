import { parseArgs } from 'node:util'

/*
 * How every benchmark here measures. A machine that does other work at the same time makes absolute times worthless and
 * drifts within a run, so only ratios are judged: in each short round every variant does the same number of operations,
 * forward and then backward (a b c c b a), each is divided by its baseline of the same round, and the median over all
 * rounds is the result. Rounds begin with another variant each time, because who runs twice in a row finds warm caches.
 * A baseline that runs a second time under another name shows how much of a ratio is noise.
 */

/** Milliseconds from any moment. */
export type Clock = () => number | Promise<number>

/** One way of doing the same work. */
export interface Variant {
  readonly name: string
  /** Does this many operations; throws when one of them gives a wrong answer. */
  run(operations: number): Promise<void>
  /** Takes part in every n-th round only: for slow variants that have no bar. Default 1. */
  readonly every?: number
  /** Milliseconds, in place of the clock of the run. */
  readonly clock?: Clock
}

/** Milliseconds per operation, round by round; undefined where the variant took no part. */
export type Times = ReadonlyMap<string, readonly (number | undefined)[]>

/** What must hold. */
export interface Bar {
  readonly least?: number
  readonly most?: number
}

/** A variant compared with its baseline. */
export interface Row {
  readonly name: string
  readonly baseline: string
  /** Median over the rounds. */
  readonly ratio: number
  /** First and third quartile of the rounds. */
  readonly middle: readonly [number, number]
  /** Median, per operation. */
  readonly microseconds: number
  readonly rounds: number
  /** Such as `<= 1.15`; null when the row is for information. */
  readonly bar: string | null
  readonly ok: boolean | null
}

/** What the command line asks for. */
export interface Settings {
  /** One JSON object per line in place of the table. */
  readonly json: boolean
  /** Whether little time was asked for. */
  readonly quick: boolean
  /** Milliseconds since the start of the process at which measuring ends. */
  readonly endMs: number
}

/** With `--quick` measuring ends here, counted from the start of the process; stopping takes under 2 s. */
const QUICK_MS = 42_000
const FULL_MS = 150_000
/** Even when the start was slow, so many milliseconds are measured. */
const LEAST_MEASURING_MS = 9_000
/** Of the time that is left: node compiles what runs often while it runs, and that is not what is measured. */
const WARM_UP_SHARE = 0.2

/** Reads `--json` and `--quick`. Anything else ends the process with status 2. */
export function settings(): Settings {
  try {
    const { values } = parseArgs({ options: { json: { type: 'boolean' }, quick: { type: 'boolean' } } })
    return { json: values.json ?? false, quick: values.quick ?? false, endMs: values.quick ? QUICK_MS : FULL_MS }
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : String(error)}\nUse --json, --quick or nothing.`)
    return process.exit(2)
  }
}

/** Cuts the time that is left into `parts` of equal length: gives the end of each, in the clock of `performance.now()`. */
export function deadlines({ endMs }: Settings, parts: number): readonly number[] {
  const now = performance.now()
  const each = Math.max(endMs - now, LEAST_MEASURING_MS) / parts
  return Array.from({ length: parts }, (_, i) => now + each * (i + 1))
}

/** Milliseconds of CPU that this process has used: the clock for work that is done in it, which other processes only delay. */
export function cpuClock(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}

/** Runs the variants in interleaved rounds until `deadline`. */
export async function measure(
  variants: readonly Variant[],
  operations: number,
  deadline: number,
  common: Clock = () => performance.now(),
): Promise<Times> {
  const times = new Map(variants.map(({ name }) => [name, [] as (number | undefined)[]]))
  const warm = performance.now() + (deadline - performance.now()) * WARM_UP_SHARE
  do for (const variant of variants) await variant.run(operations)
  while (performance.now() < warm)
  for (let round = 0; round === 0 || performance.now() < deadline; round++) {
    const taking = rotated(
      variants.filter(({ every = 1 }) => round % every === 0),
      round,
    )
    const spent = new Map<string, number>()
    for (const { name, run, clock = common } of [...taking, ...taking.toReversed()]) {
      const start = await clock()
      await run(operations)
      spent.set(name, (spent.get(name) ?? 0) + (await clock()) - start)
    }
    for (const [name, list] of times) {
      const total = spent.get(name)
      list.push(total === undefined ? undefined : total / (2 * operations))
    }
  }
  return times
}

/** Time of `variant` divided by time of `baseline`: 1.1 is a tenth slower. `prefix` names the setting. */
export function timeRow(prefix: string, times: Times, variant: string, baseline: string, bar?: Bar): Row {
  return row(prefix, times, { variant, baseline, bar, invert: false })
}

/** Throughput of `variant` divided by throughput of `baseline`: 0.9 is a tenth less. */
export function throughputRow(prefix: string, times: Times, variant: string, baseline: string, bar?: Bar): Row {
  return row(prefix, times, { variant, baseline, bar, invert: true })
}

/** Something counted, which is the same in every round: `per` says of what. */
export function countRow(name: string, per: string, count: number, bar: Bar): Row {
  const ok = count >= (bar.least ?? 0) && count <= (bar.most ?? Number.POSITIVE_INFINITY)
  return {
    name,
    baseline: per,
    ratio: count,
    middle: [count, count],
    microseconds: 0,
    rounds: 1,
    bar: barText(bar),
    ok,
  }
}

/** Prints the rows and sets the exit status: 1 when a bar is missed. */
export function report(rows: readonly Row[], { json }: Settings): void {
  if (json) for (const one of rows) console.log(JSON.stringify(one))
  else printTable(rows)
  if (rows.some(({ ok }) => ok === false)) process.exitCode = 1
}

interface Comparison {
  readonly variant: string
  readonly baseline: string
  readonly bar: Bar | undefined
  readonly invert: boolean
}

function row(prefix: string, times: Times, { variant, baseline, bar, invert }: Comparison): Row {
  const of = times.get(variant) ?? []
  const by = times.get(baseline) ?? []
  const ratios = of.flatMap((time, round) => {
    const base = by[round]
    return time === undefined || base === undefined ? [] : [invert ? base / time : time / base]
  })
  const ratio = rounded(quantile(ratios, 0.5))
  return {
    name: `${prefix}: ${variant}`,
    baseline,
    ratio,
    middle: [rounded(quantile(ratios, 0.25)), rounded(quantile(ratios, 0.75))],
    microseconds:
      Math.round(
        quantile(
          of.filter((time) => time !== undefined),
          0.5,
        ) * 10_000,
      ) / 10,
    rounds: ratios.length,
    bar: bar === undefined ? null : barText(bar),
    ok: bar === undefined ? null : ratio >= (bar.least ?? 0) && ratio <= (bar.most ?? Number.POSITIVE_INFINITY),
  }
}

function rotated<T>(list: readonly T[], by: number): readonly T[] {
  const first = by % list.length
  return [...list.slice(first), ...list.slice(0, first)]
}

function barText({ least, most }: Bar): string {
  return [...limit('>=', least), ...limit('<=', most)].join(' ')
}

function limit(sign: string, value: number | undefined): string[] {
  return value === undefined ? [] : [`${sign} ${value.toFixed(2)}`]
}

function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  const at = (sorted.length - 1) * share
  const low = sorted[Math.floor(at)] ?? Number.NaN
  const high = sorted[Math.ceil(at)] ?? Number.NaN
  return low + (high - low) * (at - Math.floor(at))
}

function rounded(value: number): number {
  return Math.round(value * 1000) / 1000
}

function printTable(rows: readonly Row[]): void {
  const cells = rows.map(({ name, baseline, ratio, middle, microseconds, rounds, bar, ok }) => [
    name,
    baseline,
    ratio.toFixed(3),
    middle.map((value) => value.toFixed(2)).join('-'),
    microseconds.toFixed(1),
    String(rounds),
    bar ?? '',
    ok === null ? '' : ok ? 'ok' : 'MISSED',
  ])
  const table = [['', 'against', 'ratio', 'middle half', 'us/op', 'rounds', 'bar', ''], ...cells]
  const widths = table[0]?.map((_, column) => Math.max(...table.map((line) => line[column]?.length ?? 0))) ?? []
  for (const line of table)
    console.log(
      line
        .map((cell, i) => cell.padEnd(widths[i] ?? 0))
        .join('  ')
        .trimEnd(),
    )
}
