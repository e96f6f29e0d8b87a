import { startProxy } from '../servers/proxy.ts'
import { type Bar, countRow, cpuClock, measure, type Row, timeRow, type Variant } from './harness.ts'
import { at, rowOf } from './notes.ts'

/** Finds the row with this id of the n-th tenant. */
export type Read = (tenant: number, id: number) => Promise<readonly { readonly body: string }[]>

/** The same row in two ways. */
export interface Ways {
  /** As an app without tenancy finds it: a plain client, the table by its full name. */
  readonly plain: Read
  /** Through the product's client of that tenant. */
  readonly scoped: Read
  close(): Promise<unknown>
}

/** One strategy on one database: tenants with a filled table each. */
export interface BenchCell {
  readonly name: string
  readonly bar: Bar
  /** What the rows of each tenant say. */
  readonly tenants: readonly string[]
  /** Where the server listens; absent where there is no network. */
  readonly port?: number
  /** Opens both ways, on this port or the server's own. */
  connect(port?: number): Promise<Ways>
}

/** Statements of which the turns are counted. */
const COUNTED = 5

/** One statement of the tenants in turn, against the same without tenancy: its time, and its turns on the network. */
export async function measureCell(cell: BenchCell, deadline: number): Promise<Row[]> {
  const turns = await turnRows(cell)
  const ways = await cell.connect()
  // The repeat has connections of its own: what two variants share is warmer than what one has to itself.
  const others = await cell.connect()
  const variant = (name: string, read: Read): Variant => {
    let turn = 0
    return {
      name,
      async run(operations) {
        for (let i = 0; i < operations; i++) {
          const tenant = turn++ % cell.tenants.length
          await check(cell, `${cell.name}, ${name}`, tenant, read(tenant, rowOf(turn)))
        }
      },
    }
  }
  try {
    const variants = [
      variant('no tenancy', ways.plain),
      variant('scoped', ways.scoped),
      variant('no tenancy, again', others.plain),
    ]
    const times = await measure(variants, ...pace(cell, deadline))
    return [
      timeRow(cell.name, times, 'scoped', 'no tenancy', cell.bar),
      timeRow(cell.name, times, 'no tenancy, again', 'no tenancy'),
      ...turns,
    ]
  } finally {
    await Promise.all([ways.close(), others.close()])
  }
}

/** Without a network all work is done in this process, in a few microseconds. */
function pace({ port }: BenchCell, deadline: number): [operations: number, deadline: number, clock?: () => number] {
  return port === undefined ? [50, deadline, cpuClock] : [10, deadline]
}

async function turnRows(cell: BenchCell): Promise<Row[]> {
  if (cell.port === undefined) return []
  const proxy = await startProxy({ target: cell.port, delayMs: 1 })
  const ways = await cell.connect(proxy.port)
  try {
    // The first opens the connection.
    for (let i = 0; i <= COUNTED; i++) {
      if (i === 1) proxy.resetCounters()
      await check(cell, `${cell.name}, counted`, 0, ways.scoped(0, rowOf(i)))
    }
    return [countRow(`${cell.name}: network turns`, 'a statement', proxy.turns / COUNTED, { least: 1, most: 1 })]
  } finally {
    await ways.close()
    await proxy.stop()
  }
}

async function check(cell: BenchCell, name: string, tenant: number, answer: ReturnType<Read>): Promise<void> {
  const [row, ...more] = await answer
  if (row?.body !== at(cell.tenants, tenant) || more.length > 0) throw new Error(`${name}: a wrong answer`)
}
