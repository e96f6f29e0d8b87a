/*
 * What tenancy costs a request: Fastify with the plugin (the tenant by header, found in L1) against Fastify without.
 * The servers are processes of their own; the load, 50 keep-alive connections on which 50 tenants take turns, is this
 * process. Every answer is checked: status 200, the right tenant. Numbers are throughputs: 0.90 is a tenth less.
 * Those of `hello` are requests for each second of CPU that the servers used: what a server does that has a core to itself.
 * By the clock on the wall, load and server fight for cores, and what wins says little of either.
 *
 *   hello   no database. `als` only enters an AsyncLocalStorage: on Node 20 that is most of the cost, on Node 24 it is
 *           nearly free. Two processes that run the very same app differ by up to a fifth, so there are several, which
 *           take turns, and what is compared closely, `als` and `plugin`, is served by the same ones. For the comparison
 *           with `bare` each has processes to itself: every AsyncLocalStorage costs all promises of its process something.
 *   note    one row by primary key through Drizzle; without tenancy by a plain pool and the table's full name.
 *
 *     npm run bench:request -- [--quick] [--json]
 */
import { drizzle } from 'drizzle-orm/node-postgres'
import Fastify from 'fastify'
import { fileURLToPath } from 'node:url'
import { type Tenant, tenancy } from '../../src/index.ts'
import type { TestDatabase } from '../servers/database.ts'
import { startPostgres } from '../servers/postgres.ts'
import { asSuperuser, baselineDatabase } from '../support/database.ts'
import { type Child, startChild } from './child.ts'
import { deadlines, measure, report, type Row, settings, throughputRow, type Variant } from './harness.ts'
import { type Exchange, getRequest, openLoad } from './http-load.ts'
import { at, fillNotes, rowOf, TENANTS } from './notes.ts'
import type { ServerOptions } from './request-server.ts'

const CONNECTIONS = 50
const POOL_SIZE = 10
const migrations = fileURLToPath(new URL('./migrations', import.meta.url))

const chosen = settings()
/** Processes of a kind. */
const processes = chosen.quick ? 2 : 3
const postgres = await startPostgres({ version: 18 })
const children: Child[] = []
try {
  const database = await baselineDatabase(postgres.url)
  const tenants = await register(database)
  const options = {
    databaseUrl: database.appUrl,
    adminDatabaseUrl: database.adminUrl,
    namespaces: Object.fromEntries(tenants.map(({ identifier, placement }) => [identifier, placement.namespace])),
    poolSize: POOL_SIZE,
  }
  const serve = async (...apps: ServerOptions['apps']) => {
    const child = await startChild('./request-server.ts', { ...options, apps } satisfies ServerOptions)
    children.push(child)
    return child
  }
  const variant = async (name: string, servers: readonly Child[], exchange: (n: number) => Exchange, app = 0) => {
    let turn = 0
    const loads = await Promise.all(
      servers.map(({ ports }) => openLoad(at(ports, app), CONNECTIONS, () => exchange(turn++))),
    )
    let runs = 0
    return { name, run: (operations) => at(loads, runs++ % loads.length).run(operations) } satisfies Variant
  }
  /** By the CPU of its servers. */
  const helloVariant = async (name: string, servers: readonly Child[], app?: number) => {
    const clock = async () =>
      (await Promise.all(servers.map(({ cpu }) => cpu()))).reduce((sum, one) => sum + one) / 1000
    return { ...(await variant(name, servers, hello, app)), clock } satisfies Variant
  }
  const [hello, note] = exchangesOf(tenants)
  const several = (...apps: ServerOptions['apps']) =>
    Promise.all(Array.from({ length: processes }, () => serve(...apps)))
  const both = await several('als', 'tenant')
  const [bare, others] = await Promise.all([several('bare'), several('bare')])
  const hellos = [
    await helloVariant('bare', bare),
    await helloVariant('als', both),
    await helloVariant('plugin', both, 1),
    await helloVariant('als alone', await several('als')),
    await helloVariant('plugin alone', await several('tenant')),
    await helloVariant('bare, again', others),
  ]
  const queries = [
    await variant('plain pool', others.slice(0, 1), note),
    await variant('plugin', [await serve('tenant')], note),
    await variant('plain pool, again', others.slice(1, 2), note),
  ]

  const [helloEnd, noteEnd] = deadlines(chosen, 2)
  const helloTimes = await measure(hellos, 1500, helloEnd ?? 0)
  const noteTimes = await measure(queries, 200, noteEnd ?? 0)
  const rows: Row[] = [
    throughputRow('hello', helloTimes, 'plugin', 'als', { least: 0.95 }),
    throughputRow('hello', helloTimes, 'plugin alone', 'bare', { least: 0.82 }),
    throughputRow('hello', helloTimes, 'als alone', 'bare'),
    throughputRow('hello', helloTimes, 'bare, again', 'bare'),
    throughputRow('note', noteTimes, 'plugin', 'plain pool', { least: 0.8 }),
    throughputRow('note', noteTimes, 'plain pool, again', 'plain pool'),
  ]
  report(rows, chosen)
} finally {
  await Promise.all(children.map((child) => child.stop()))
  await postgres.stop()
}

/** 50 tenants, made by the product, with their rows. */
async function register({ appUrl, adminUrl, ...database }: TestDatabase): Promise<readonly Tenant[]> {
  const app = Fastify()
  await app.register(tenancy, {
    databaseUrl: appUrl,
    adminDatabaseUrl: adminUrl,
    migrations,
    drizzle: (client) => drizzle({ client }),
  })
  try {
    const tenants: Tenant[] = []
    for (let i = 0; i < TENANTS; i++) tenants.push(await app.tenancy.register({ identifier: `tenant-${i}` }))
    await asSuperuser({ appUrl, adminUrl, ...database }, async (client) => {
      for (const { identifier, placement } of tenants) await client.query(fillNotes(placement.namespace, identifier))
    })
    return tenants
  } finally {
    await app.close()
  }
}

/** The n-th exchange of either route: tenants in turn. */
function exchangesOf(tenants: readonly Tenant[]): readonly [(n: number) => Exchange, (n: number) => Exchange] {
  const hellos = tenants.map(({ identifier }) => ({
    request: getRequest('/hello', identifier),
    body: JSON.stringify({ hello: identifier }),
  }))
  const note = (n: number): Exchange => {
    const { identifier } = at(tenants, n % TENANTS)
    const id = rowOf(n)
    const body = JSON.stringify({ id, tenant: identifier, body: `note ${id}` })
    return { request: getRequest(`/notes/${id}`, identifier), body }
  }
  return [(n) => at(hellos, n % TENANTS), note]
}
