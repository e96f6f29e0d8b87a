import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type RunningServer, startServer } from './process.ts'
import { type Program, provision } from './provision.ts'

export interface PgBouncerOptions {
  readonly postgresPort: number
  /** Server connections for each pair of role and database. */
  readonly poolSize: number
  /** Further settings: `{ query_wait_timeout: '1' }`. */
  readonly settings?: Readonly<Record<string, string>>
}

export interface RunningPgBouncer extends RunningServer {
  /** As superuser `postgres` in database `postgres`; put any other role and database in their places. */
  readonly url: string
  /** The admin console: SHOW POOLS, PAUSE, RELOAD. */
  readonly adminUrl: string
  readonly poolSize: number
}

const pgbouncer: Program = {
  name: 'PgBouncer',
  waiver: 'pgbouncer',
  binary: 'pgbouncer',
  folders: ['/usr/sbin', '/usr/bin', '/opt/homebrew/bin', '/usr/local/bin'],
  inPath: true,
  aptPackage: 'pgbouncer',
}

/**
 * Starts PgBouncer in transaction mode for every database of one PostgreSQL. Roles need no registration: PgBouncer asks
 * the database for those it does not know (`auth_query`), lets them in without a password and keeps them apart, each
 * role with its own server connections.
 */
export async function startPgBouncer(options: PgBouncerOptions): Promise<RunningPgBouncer> {
  const file = await provision(pgbouncer)
  const server = await startServer({
    name: 'PgBouncer',
    file,
    args: (folder) => [join(folder, 'pgbouncer.ini')],
    ready: /process up: PgBouncer/,
    stopSignal: 'SIGKILL',
    configure: async (folder, port) => {
      await writeFile(join(folder, 'users.txt'), '"postgres" ""\n')
      await writeFile(join(folder, 'pgbouncer.ini'), configuration(folder, port, options))
    },
  })
  const url = `postgres://postgres@127.0.0.1:${server.port}`
  return { ...server, url: `${url}/postgres`, adminUrl: `${url}/pgbouncer`, poolSize: options.poolSize }
}

function configuration(
  folder: string,
  port: number,
  { postgresPort, poolSize, settings = {} }: PgBouncerOptions,
): string {
  const all: Readonly<Record<string, string | number>> = {
    listen_addr: '127.0.0.1',
    listen_port: port,
    unix_socket_dir: '',
    pool_mode: 'transaction',
    default_pool_size: poolSize,
    max_client_conn: 1000,
    auth_type: 'trust',
    auth_file: join(folder, 'users.txt'),
    auth_user: 'postgres',
    auth_query: 'SELECT usename, passwd FROM pg_catalog.pg_shadow WHERE usename = $1',
    admin_users: 'postgres',
    // What every driver sends and no pooler can honour. `options` stays refused: ignoring it would hide a bug.
    ignore_startup_parameters: 'extra_float_digits',
    // The default of 15 s would make every test of a database restart wait.
    server_login_retry: 0.2,
    // Databases of finished suites must not hold on to connections.
    server_idle_timeout: 10,
    ...settings,
  }
  const lines = Object.entries(all).map(([name, value]) => `${name} = ${value}`)
  return ['[databases]', `* = host=127.0.0.1 port=${postgresPort}`, '[pgbouncer]', ...lines, ''].join('\n')
}
