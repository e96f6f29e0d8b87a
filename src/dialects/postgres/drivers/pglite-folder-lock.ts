import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { tenancyError } from '../../../errors.ts'

/** Folders that this process holds. Its own number in a lock file proves nothing: in a container every run has the same. */
const held = new Set<string>()

/**
 * Takes a data folder for this process: PGlite itself lets two open one, and the one that writes last wins. The lock is a
 * file beside the folder that names the process; the lock of a process that is gone is taken over.
 *
 * @returns gives the folder back
 * @throws TENANCY_ERR_CONFIG_INVALID when a running process has it
 */
export function lockFolder(folder: string): () => void {
  // `memory://` and its like are PGlite's own.
  if (folder.includes('://')) return () => {}
  const file = `${resolve(folder)}.lock`
  mkdirSync(dirname(file), { recursive: true })
  if (!create(file)) {
    const owner = Number(readFileSync(file, 'utf8'))
    if (held.has(file) || (owner !== process.pid && isRunning(owner))) throw inUse(folder, file, owner)
    rmSync(file, { force: true })
    if (!create(file)) throw inUse(folder, file, owner)
  }
  held.add(file)
  return () => {
    if (held.delete(file)) rmSync(file, { force: true })
  }
}

function create(file: string): boolean {
  try {
    writeFileSync(file, String(process.pid), { flag: 'wx' })
    return true
  } catch (error) {
    if ((error as { code?: string }).code === 'EEXIST') return false
    throw error
  }
}

function isRunning(pid: number): boolean {
  if (!Number.isInteger(pid) || pid <= 0) return false
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as { code?: string }).code !== 'ESRCH'
  }
}

function inUse(folder: string, file: string, owner: number): Error {
  return tenancyError('TENANCY_ERR_CONFIG_INVALID', [
    `databaseUrl: the folder ${folder} is in use by process ${owner}. An embedded database serves one process; if that one is not yours, delete ${file}.`,
  ])
}
