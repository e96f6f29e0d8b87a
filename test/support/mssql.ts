import { randomBytes } from 'node:crypto'
import mssql from 'mssql'
import { describe, test } from 'vitest'
import type { DatabaseServer } from '../../src/contracts/dialect.ts'
import { createMssqlServer, type MssqlServerOptions } from '../../src/dialects/mssql/drivers/mssql-server.ts'
import type {
  MssqlModule,
  MssqlPool,
  MssqlResult,
  TdsConnection,
} from '../../src/dialects/mssql/drivers/mssql-types.ts'
import { parseMssqlUrl } from '../../src/dialects/mssql/drivers/mssql-url.ts'

const { ConnectionPool, Request } = mssql as MssqlModule

/** A SQL Server of which the tests may use everything: `mssql://sa:…@host:1433/master?encrypt=false`. */
const url = process.env['TENANCY_TEST_MSSQL_URL']
/** Whether this project's drizzle-orm has SQL Server. */
export const hasMssql = await import('drizzle-orm/node-mssql').then(
  () => true,
  () => false,
)

/**
 * `describe` for a suite that needs a SQL Server. It is the one server that the tests do not start themselves, and that CI
 * may miss: without the variable the suite says that it was not run.
 */
export function describeMssql(title: string, body: (superuserUrl: string) => void): void {
  const reason = hasMssql ? 'NOT RUN: TENANCY_TEST_MSSQL_URL is not set' : 'NOT RUN: this drizzle-orm has no SQL Server'
  if (hasMssql && url !== undefined && url !== '') describe(title, () => body(url))
  else describe.skip(`${title} (${reason})`, () => test('not run', () => {}))
}

/** A place for tenants on a SQL Server: two logins and the database that every connection is in. */
export interface MssqlDatabase {
  readonly database: string
  readonly servingLogin: string
  readonly adminLogin: string
  readonly url: string
  readonly adminUrl: string
  /** As the server's superuser, in that database. */
  readonly superUrl: string
  /** Drops the database, those of `tenants`, and both logins. */
  readonly drop: (tenants?: readonly string[]) => Promise<void>
}

const PASSWORD = 'P@ss:/?#%1'

/** Makes logins as the product wants them: the serving one without any right, the admin one for everything in there. */
export async function mssqlDatabase(superuserUrl: string): Promise<MssqlDatabase> {
  const suffix = randomBytes(5).toString('hex')
  const [database, servingLogin, adminLogin] = [`shared_${suffix}`, `app_${suffix}`, `admin_${suffix}`] as const
  const withLogin = (login: string | undefined, path: string) => {
    const made = new URL(superuserUrl)
    if (login !== undefined) [made.username, made.password] = [login, encodeURIComponent(PASSWORD)]
    made.pathname = path
    return made.href
  }
  const superUrl = withLogin(undefined, `/${database}`)
  await asSuper(superuserUrl, [
    `create database [${database}]`,
    `create login [${servingLogin}] with password = '${PASSWORD}', default_database = [${database}]`,
    `create login [${adminLogin}] with password = '${PASSWORD}', default_database = [${database}]`,
  ])
  await asSuper(superUrl, [`create user [${servingLogin}] for login [${servingLogin}] with default_schema = [nothing]`])
  // Who makes databases owns them. A server without that role has only a greater one.
  await asSuper(superuserUrl, [`alter server role dbcreator add member [${adminLogin}]`]).then(
    () =>
      asSuper(superUrl, [
        `create user [${adminLogin}] for login [${adminLogin}]`,
        `alter role db_owner add member [${adminLogin}]`,
      ]),
    () => asSuper(superuserUrl, [`alter server role sysadmin add member [${adminLogin}]`]),
  )
  return {
    database,
    servingLogin,
    adminLogin,
    url: withLogin(servingLogin, `/${database}`),
    adminUrl: withLogin(adminLogin, `/${database}`),
    superUrl,
    drop: async (tenants = []) => {
      for (const name of [...tenants, database]) {
        await asSuper(superuserUrl, [`alter database [${name}] set single_user with rollback immediate`]).catch(
          () => {},
        )
        await asSuper(superuserUrl, [`drop database if exists [${name}]`]).catch(() => {})
      }
      for (const login of [servingLogin, adminLogin]) {
        await asSuper(superuserUrl, [`drop login [${login}]`]).catch(() => {})
      }
    },
  }
}

/** The schemas that tenants share, by their default names. */
export const sharedSchemas = { rlsSchema: 'rls', prefixSchema: 'prefixed', tenantColumn: 'tenant_id' }

/** A server of ours on this database. */
export function mssqlServer(database: MssqlDatabase, options: Partial<MssqlServerOptions> = {}): DatabaseServer {
  return createMssqlServer({
    url: database.url,
    adminUrl: database.adminUrl,
    poolSize: 5,
    maxOverflow: 0,
    poolTimeout: 10,
    poolRecycle: 3600,
    strategies: ['schema', 'database', 'prefix'],
    registrySchema: 'tenancy',
    shared: sharedSchemas,
    onStatement: undefined,
    ...options,
  })
}

/** One statement after the other; gives the rows of the last. */
export async function asSuper<TRow>(target: string, statements: readonly string[]): Promise<TRow[]> {
  const pool = await connect(target, 1)
  try {
    let result: MssqlResult | undefined
    for (const statement of statements) result = await new Request(pool as never).query(statement)
    return (result?.recordset ?? []) as TRow[]
  } finally {
    await pool.close()
  }
}

/** A bare pool of mssql. */
export async function connect(target: string, max: number): Promise<MssqlPool> {
  const { encrypt, trustServerCertificate, ...address } = parseMssqlUrl(target)
  const pool = new ConnectionPool({
    ...address,
    connectionTimeout: 10_000,
    requestTimeout: 0,
    options: {
      encrypt,
      trustServerCertificate,
      appName: 'tests',
      useUTC: true,
      enableQuotedIdentifier: true,
      abortTransactionOnError: false,
    },
    pool: { min: 0, max, acquireTimeoutMillis: 10_000, createTimeoutMillis: 10_000, idleTimeoutMillis: 10_000 },
  })
  await pool.connect()
  return pool
}

/** Watches which connections of tedious all pools hand out, to do to one what no client of ours can. */
export function watchConnections(): {
  /** Runs SQL on the idle connection of this session. */
  poison(text: string, spid: number): Promise<void>
  stop(): void
} {
  const seen = new Set<TdsConnection>()
  const prototype = ConnectionPool.prototype as unknown as { acquire: (...parameters: unknown[]) => unknown }
  const { acquire } = prototype
  prototype.acquire = function watched(this: unknown, ...parameters: unknown[]) {
    const acquired = acquire.apply(this, parameters)
    // mssql's own requests hand in a callback.
    if (parameters.length < 2) void (acquired as Promise<TdsConnection>).then((one) => seen.add(one)).catch(() => {})
    return acquired
  }
  const on = (connection: TdsConnection, text: string) =>
    new Request({
      config: {},
      connected: true,
      collation: undefined,
      acquire: (_, done) => done(null, connection, {}),
      release() {},
    }).query(text)
  return {
    async poison(text, spid) {
      for (const connection of seen) {
        if (connection.closed) continue
        const { recordset = [] } = await on(connection, 'select @@spid as id')
        const [session] = recordset as { id: number }[]
        if (session?.id === spid) await on(connection, text)
      }
    },
    stop() {
      prototype.acquire = acquire
    },
  }
}

/** Whether the server keeps rows apart itself, and its catalogue tells of rights and dependencies, which what only speaks T-SQL may not. */
export const hasPolicies =
  hasMssql && url !== undefined && url !== ''
    ? await asSuper(url, ['select top (1) 1 as x from sys.security_policies']).then(
        () => true,
        () => false,
      )
    : false

/** Seconds that two new connections take, in whole milliseconds and one at most. */
export async function secondsToConnect(): Promise<number> {
  if (!hasMssql || url === undefined || url === '') return 0
  let shortest = 1000
  // The first take longer than any later.
  for (let round = 0; round < 3; round++) {
    const since = performance.now()
    await asSuper(url, ['select 1 as x'])
    shortest = Math.min(shortest, Math.ceil(performance.now() - since))
  }
  return shortest / 1000
}
