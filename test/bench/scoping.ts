/*
 * What one scoped statement costs: Drizzle over the product's tenant client, against the same query of an app without
 * tenancy (a plain pool, the tenant's table by its full name). 50 tenants take turns, one row by primary key, all as the
 * serving role; every row is checked to be its tenant's. Numbers are times: 1.10 is a tenth slower.
 *
 * `+1 ms` leads through a proxy in a process of its own that holds every answer 1 ms (a timer of Node: a little longer).
 * Rows without a bar: the floor a second time (the noise), and other ways into a tenant's schema.
 *
 *     npm run bench:scoping -- [--quick] [--json]
 */
import type { Scope } from '../../src/contracts/isolation.ts'
import { asSuperuser, baselineDatabase, provisionScope, schemaScope, testServer } from '../support/database.ts'
import { type TestDatabase, withPort } from '../servers/database.ts'
import { startPostgres } from '../servers/postgres.ts'
import { type Child, startChild } from './child.ts'
import { type Bar, deadlines, measure, report, type Row, settings, timeRow, type Variant } from './harness.ts'
import { at, createNotes, fillNotes, rowOf, TENANTS } from './notes.ts'
import { oneFlush, pipeline, plain, poolPerTenant, type Setting, transaction, type Way } from './scoping-variants.ts'

interface Part {
  readonly name: string
  readonly setting: Setting
  /** Statements under way at a time. */
  readonly concurrency: number
  readonly operations: number
  readonly bar: Bar
}

const DELAY_MS = 1
/** Comparisons without a bar take part in every so many rounds. */
const SELDOM = 8

const chosen = settings()
const postgres = await startPostgres({ version: 18 })
let proxy: Child | undefined
try {
  const database = await baselineDatabase(postgres.url)
  proxy = await startChild('./proxy-process.ts', { target: postgres.port, delayMs: DELAY_MS })
  const direct: Setting = { database, url: database.appUrl, scopes: await provision(database) }
  const delayed: Setting = { ...direct, url: withPort(database.appUrl, at(proxy.ports, 0)) }
  const parts: readonly Part[] = [
    { name: 'sequential', setting: direct, concurrency: 1, operations: 100, bar: { most: 1.15 } },
    { name: 'sequential +1 ms', setting: delayed, concurrency: 1, operations: 10, bar: { most: 1.06 } },
    { name: '100 concurrent', setting: direct, concurrency: 100, operations: 400, bar: { most: 1.4 } },
  ]
  const ends = deadlines(chosen, parts.length)
  const rows: Row[] = []
  for (const [i, part] of parts.entries()) rows.push(...(await measurePart(part, at(ends, i))))
  report(rows, chosen)
} finally {
  await proxy?.stop()
  await postgres.stop()
}

/** The tenants' schemas with their tables, made by the product. */
async function provision(database: TestDatabase): Promise<Setting['scopes']> {
  const server = testServer(database)
  await server.open()
  try {
    const scopes: Scope[] = []
    for (let i = 0; i < TENANTS; i++) scopes.push(await provisionScope(server, [createNotes], schemaScope()))
    await asSuperuser(database, async (client) => {
      for (const { namespace } of scopes) await client.query(fillNotes(namespace, namespace))
    })
    return scopes
  } finally {
    await server.close()
  }
}

async function measurePart({ name, setting, concurrency, operations, bar }: Part, deadline: number): Promise<Row[]> {
  const ways = await Promise.all([
    plain('no tenancy', setting),
    oneFlush('one flush', setting),
    plain('no tenancy, again', setting),
  ])
  const others = await Promise.all([
    transaction('BEGIN/SET/query/COMMIT', setting),
    pipeline('the same by pg pipeline', setting),
    poolPerTenant('pool per tenant', setting),
  ])
  try {
    const variants = [
      ...ways.map((way) => variant(way, setting, concurrency)),
      ...others.map((way) => ({ ...variant(way, setting, concurrency), every: SELDOM })),
    ]
    const times = await measure(variants, operations, deadline)
    const [floor, ...compared] = variants.map((one) => one.name)
    return compared.map((one) => timeRow(name, times, one, floor ?? '', one === 'one flush' ? bar : undefined))
  } finally {
    await Promise.all([...ways, ...others].map((way) => way.close()))
  }
}

/** Asks the tenants in turn and checks every answer. */
function variant({ name, read }: Way, { scopes }: Setting, concurrency: number): Variant {
  let turn = 0
  const once = async () => {
    const tenant = turn++ % TENANTS
    const id = rowOf(turn)
    const [row, ...more] = await read(tenant, id)
    if (row?.id !== id || row.tenant !== at(scopes, tenant).namespace || more.length > 0) {
      throw new Error(`${name}: row ${id} of tenant ${tenant} was answered with ${JSON.stringify(row)}.`)
    }
  }
  const run = async (operations: number) => {
    let left = operations
    const work = async () => {
      while (left-- > 0) await once()
    }
    await Promise.all(Array.from({ length: concurrency }, work))
  }
  return { name, run }
}
