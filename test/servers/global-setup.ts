import type { TestProject } from 'vitest/node'
import { provideBetterSqlite3 } from './better-sqlite3.ts'
import { startMariadb } from './mariadb.ts'
import { startPgBouncer } from './pgbouncer.ts'
import { type PostgresVersion, startPostgres } from './postgres.ts'
import { type Waiver, waivedServers } from './provision.ts'
import { startRedis } from './redis.ts'
import type { PgBouncerAddress, PostgresAddress, ServerAddress, Servers } from './types.ts'

interface Fleet {
  readonly servers: Servers
  readonly stop: () => Promise<void>
}

interface Shared {
  users: number
  fleet?: Promise<Fleet> | undefined
}

interface Stoppable {
  readonly stop: () => Promise<void>
}

const POOL_SIZE = 5

/** Every vitest project loads its own copy of this module, but they share the process and its servers. */
const SHARED = Symbol.for('fastify-tenancy.test-servers')
const shared: Shared = ((globalThis as { [SHARED]?: Shared })[SHARED] ??= { users: 0 })

/** vitest's global setup: starts the servers for the first project, stops them after the last. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  shared.users++
  shared.fleet ??= startFleet(waivedServers())
  try {
    const { servers } = await shared.fleet
    project.provide('servers', servers)
  } catch (error) {
    shared.users--
    shared.fleet = undefined
    throw error
  }
  return async () => {
    if (--shared.users > 0 || !shared.fleet) return
    const { servers, stop } = await shared.fleet
    shared.fleet = undefined
    await stop()
    if (servers.waived.length > 0)
      console.log(`\nWAIVED: ${servers.waived.join(', ')} (suites that need them were skipped)`)
    if (!process.env['TENANCY_TEST_MSSQL_URL'])
      console.log('\nNOT RUN: the suites of SQL Server, because TENANCY_TEST_MSSQL_URL is not set')
  }
}

async function startFleet(waived: ReadonlySet<Waiver>): Promise<Fleet> {
  const running: Stoppable[] = []
  const unless = async <T extends Stoppable>(name: Waiver, start: () => Promise<T>): Promise<T | undefined> => {
    if (waived.has(name)) return undefined
    const server = await start()
    running.push(server)
    return server
  }
  const database = async (version: PostgresVersion) => {
    const postgres = await unless(`postgres${version}`, () => startPostgres({ version }))
    if (!postgres) return {}
    const options = { postgresPort: postgres.port, poolSize: POOL_SIZE }
    const pgbouncer = await unless('pgbouncer', () => startPgBouncer(options))
    return {
      [`postgres${version}`]: { ...address(postgres), version } satisfies PostgresAddress,
      ...(pgbouncer && {
        [`pgbouncer${version}`]: { ...address(pgbouncer), version, poolSize: POOL_SIZE } satisfies PgBouncerAddress,
      }),
    }
  }
  const other = async (name: 'mariadb' | 'redis', start: () => Promise<ServerAddress & Stoppable>) => {
    const server = await unless(name, start)
    return server ? { [name]: address(server) } : {}
  }
  const library = async () => (waived.has('better-sqlite3') ? {} : { 'better-sqlite3': await provideBetterSqlite3() })
  const stop = async () => {
    await Promise.all(running.map((server) => server.stop()))
  }

  const starts = [database(15), database(18), other('mariadb', startMariadb), other('redis', startRedis), library()]
  const results = await Promise.allSettled(starts)
  const failures = results.flatMap((result) => (result.status === 'rejected' ? [result.reason as Error] : []))
  if (failures.length > 0) {
    await stop()
    throw new AggregateError(
      failures,
      `Test servers are missing.\n\n${failures.map(({ message }) => message).join('\n\n')}`,
    )
  }
  const parts = results.map((result) => (result.status === 'fulfilled' ? result.value : {}))
  return { servers: Object.assign({ waived: [...waived] }, ...parts) as Servers, stop }
}

function address({ url, port }: ServerAddress): ServerAddress {
  return { url, port }
}
