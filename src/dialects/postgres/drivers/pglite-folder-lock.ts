import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { tenancyError } from '../../../errors.ts'

/** Who has a folder. The number alone proves nothing: in a container every run has the same. */
interface Holder {
  readonly pid: number
  /** When the process began, in milliseconds since 1970: the same in all of its threads, and whatever becomes of the clock. */
  readonly since: number
  /** When the lock was, in the same. */
  readonly written: number
}

/** How long a lock may be without its text, in milliseconds, before whoever made it must have died of it. */
const WRITING_MS = 10_000

/**
 * Takes a data folder for this process: PGlite itself lets two open one, and the one that writes last wins. The lock is a
 * file beside the folder that names the process; the lock of a process that is gone is taken over.
 *
 * @returns gives the folder back
 * @throws TENANCY_ERR_CONFIG_INVALID when a running process has it, also this one, TENANCY_ERR_DATABASE_UNAVAILABLE when the lock
 * cannot be written
 */
export function lockFolder(folder: string): () => void {
  // `memory://` and its like are PGlite's own.
  if (folder.includes('://')) return () => {}
  const file = `${resolve(folder)}.lock`
  try {
    mkdirSync(dirname(file), { recursive: true })
    if (!create(file)) takeOver(folder, file)
  } catch (error) {
    if (error instanceof Error && !('syscall' in error)) throw error
    throw tenancyError('TENANCY_ERR_DATABASE_UNAVAILABLE', [`: the lock ${file} cannot be written.`], error)
  }
  let held = true
  return () => {
    if (held) rmSync(file, { force: true })
    held = false
  }
}

/** One at a time, or the second would remove the lock that the first has just made. */
function takeOver(folder: string, file: string): void {
  const claim = `${file}.claim`
  if (!create(claim)) throw inUse(folder, holderOf(claim), claim)
  try {
    const holder = holderOf(file)
    if (holder !== undefined && isRunning(holder)) throw inUse(folder, holder, file)
    rmSync(file, { force: true })
    if (!create(file)) throw inUse(folder, holderOf(file), file)
  } finally {
    rmSync(claim, { force: true })
  }
}

function create(file: string): boolean {
  try {
    writeFileSync(file, `${process.pid} ${performance.timeOrigin}`, { flag: 'wx' })
    return true
  } catch (error) {
    if ((error as { code?: string }).code === 'EEXIST') return false
    throw error
  }
}

/** Whom the lock names; undefined when it is gone. */
function holderOf(file: string): Holder | undefined {
  try {
    const [pid = Number.NaN, since = Number.NaN] = readFileSync(file, 'utf8').split(' ').map(Number)
    return { pid, since, written: statSync(file).mtimeMs }
  } catch (error) {
    if ((error as { code?: string }).code === 'ENOENT') return undefined
    throw error
  }
}

function isRunning({ pid, since, written }: Holder): boolean {
  // Made, and not written yet.
  if (pid === 0) return Date.now() - written < WRITING_MS
  if (!Number.isInteger(pid) || pid < 0) return false
  if (pid === process.pid) return since === performance.timeOrigin
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as { code?: string }).code !== 'ESRCH'
  }
}

function inUse(folder: string, holder: Holder | undefined, file: string): Error {
  const who = holder === undefined || holder.pid === 0 ? 'another process' : `process ${holder.pid}`
  return tenancyError('TENANCY_ERR_CONFIG_INVALID', [
    `databaseUrl: the folder ${folder} is in use by ${who}. An embedded database serves one process; if that one is not yours, delete ${file}.`,
  ])
}
