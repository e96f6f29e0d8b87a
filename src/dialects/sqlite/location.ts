import { closeSync, existsSync, lstatSync, mkdirSync, openSync, realpathSync } from 'node:fs'
import { basename, dirname, join, relative, resolve, sep } from 'node:path'
import { tenancyError } from '../../errors.ts'

/** Files that SQLite keeps beside a database. */
export const SIDE_FILES = ['-wal', '-shm', '-journal'] as const

/** Where the files of a server are; absolute, so that a later change of the working folder moves nothing. */
export interface Location {
  readonly mainFile: string
  /** The registry of tenants: a file of its own, which no tenant's connection opens. */
  readonly registryFile: string
  readonly tenantFolder: string
}

/** What tells one file from another of the same name. */
export interface FileIdentity {
  readonly device: number
  readonly inode: number
}

/**
 * Reads `file:<path>` and the folder of the tenants' own files, by default `<path>.tenants`.
 * @throws TENANCY_ERR_CONFIG_INVALID for what is no local file, and for a main file inside the tenants' folder
 */
export function locationOf(url: string, tenantFolder?: string): Location {
  const mainFile = resolve(pathOf(url))
  const location = {
    mainFile,
    registryFile: registryOf(mainFile),
    tenantFolder: resolve(tenantFolder ?? `${mainFile}.tenants`),
  }
  assertApart(location)
  return Object.freeze(location)
}

/**
 * Makes the folders, and the files for their owner alone: SQLite would make them as the umask says, and give the files it
 * keeps beside them the same rights. The links on the way are followed once, now.
 */
export function prepare({ mainFile: file, tenantFolder }: Location): Location {
  mkdirSync(dirname(file), { recursive: true })
  mkdirSync(tenantFolder, { recursive: true, mode: 0o700 })
  const mainFile = join(realpathSync(dirname(file)), basename(file))
  const location = {
    mainFile,
    registryFile: registryOf(mainFile),
    tenantFolder: realpathSync(tenantFolder),
  }
  assertApart(location)
  for (const path of [location.mainFile, location.registryFile]) make(path)
  return Object.freeze(location)
}

/**
 * Makes a file that is not there. One that is there is not even opened: to close any descriptor of a file takes all locks that
 * this process has on it, those of SQLite too, which does not notice (https://www.sqlite.org/howtocorrupt.html, 2.2), and the next process to
 * close the database would remove the log of whoever still writes to it.
 */
function make(path: string): void {
  try {
    closeSync(openSync(path, 'wx', 0o600))
  } catch (error) {
    if ((error as { code?: unknown }).code !== 'EEXIST') throw error
    // A link that leads to nothing yet.
    if (!existsSync(path)) closeSync(openSync(path, 'a', 0o600))
  }
}

/** The file of a namespace whose form was checked. */
export function tenantFile({ tenantFolder }: Location, namespace: string): string {
  return join(tenantFolder, `${namespace}.db`)
}

/**
 * The file at `path`, or undefined when there is none. A link is never followed: it could lead to another tenant's file.
 * @throws TENANCY_ERR_NAMESPACE_EXISTS for a link, a folder or the like
 */
export function identityOf(path: string, namespace: string): FileIdentity | undefined {
  const found = lstatSync(path, { throwIfNoEntry: false })
  if (found === undefined) return undefined
  if (!found.isFile()) throw tenancyError('TENANCY_ERR_NAMESPACE_EXISTS', [namespace])
  return { device: found.dev, inode: found.ino }
}

/** Whether both are the same file. */
export function isSame(one: FileIdentity, other: FileIdentity | undefined): boolean {
  return one.device === other?.device && one.inode === other.inode
}

function registryOf(mainFile: string): string {
  return `${mainFile}.registry`
}

/** Nobody's own file can be the main one, whatever the namespace. */
function assertApart({ mainFile, tenantFolder }: Location): void {
  const inside = relative(tenantFolder, mainFile)
  if (inside === '..' || inside.startsWith(`..${sep}`)) return
  throw invalid('the main file is inside the folder of the tenants. Give that a folder of its own (tenantFolder).')
}

function pathOf(url: string): string {
  const [, path] = /^file:([^?#]*)$/.exec(url) ?? []
  if (path === undefined) {
    throw invalid(
      'SQLite is a local file here: `file:<path>` without parameters. A remote libSQL server has no lock that would keep two migrations apart.',
    )
  }
  // `file:///path`, `file://localhost/path`, `file:/path`, `file:path`.
  const local = path.replace(/^\/\/(?:localhost)?(?=\/)/, '')
  if (local === '' || local.startsWith('//') || local.endsWith('/')) throw invalid('it names no local file.')
  if (local.startsWith(':memory:')) throw invalid('`:memory:` is another database on each connection. Use a file.')
  const decoded = decode(local)
  if (decoded.includes('\0')) throw invalid('it names no local file.')
  return decoded
}

function decode(path: string): string {
  try {
    return decodeURIComponent(path)
  } catch (error) {
    if (error instanceof URIError) throw invalid('a % in it is no escape; write it as %25.')
    throw error
  }
}

function invalid(reason: string): Error {
  return tenancyError('TENANCY_ERR_CONFIG_INVALID', [`- databaseUrl: ${reason}`])
}
