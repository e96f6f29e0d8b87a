import { closeSync, lstatSync, openSync, rmSync, statSync } from 'node:fs'
import type { DestroyReport } from '../../../contracts/dialect.ts'
import type { Scope } from '../../../contracts/isolation.ts'
import { tenancyError } from '../../../errors.ts'
import { NOTHING } from '../destroy-namespace.ts'
import { layoutOf } from '../layout.ts'
import { type FileIdentity, identityOf, isSame, type Location, SIDE_FILES } from '../location.ts'
import { isOwn, type NamespaceTransaction, objectsOf } from '../namespace-session.ts'
import { useWriteAheadLog } from './connection.ts'
import type { OpenConnection } from './connection-types.ts'
import type { DatabaseFile } from './database-file.ts'
import { inMigration } from './migration.ts'
import { ownPlace, type Place } from './place.ts'
import { createTenantFiles, type TenantFiles } from './tenant-files.ts'

/** The files of tenants that have one of their own: named after the namespace, never after anything that a user chose. */
export interface OwnFiles<F extends DatabaseFile = DatabaseFile> extends TenantFiles<F> {
  /** Runs `work` in one transaction on the tenant's file, which is made if it is not there, and removed if `work` throws. */
  provision<T>(scope: Scope, work: (transaction: NamespaceTransaction) => Promise<T>): Promise<T>
  /** Runs `work` in one transaction on the tenant's file; undefined when it is not there. */
  inside<T>(scope: Scope, work: (transaction: NamespaceTransaction) => Promise<T>): Promise<T | undefined>
  /** Removes the tenant's file. @throws TENANCY_ERR_NAMESPACE_EXISTS, TENANCY_ERR_DESTROY_INCOMPLETE */
  remove(scope: Scope): Promise<DestroyReport>
}

/** Options of {@link createOwnFiles}. */
export interface OwnFilesOptions<F extends DatabaseFile> {
  readonly openConnection: OpenConnection
  /** Nothing is opened before it is needed. */
  readonly createFile: (place: Place) => F
  readonly location: Location
  /** Longest wait for a file or its writer. */
  readonly timeoutMs: number
  readonly maxOpenFiles: number
}

/** Makes {@link OwnFiles}. */
export function createOwnFiles<F extends DatabaseFile>(options: OwnFilesOptions<F>): OwnFiles<F> {
  const { openConnection, createFile, location, timeoutMs, maxOpenFiles } = options
  const files = createTenantFiles({
    create: (scope) => createFile(ownPlace(location, scope)),
    maxOpen: maxOpenFiles,
    timeoutMs,
  })

  return Object.freeze({
    ...files,

    async provision(scope, work) {
      const { path, look } = ownPlace(location, scope)
      return withLock(files, scope, async (file) => {
        const made = makeFile(path, scope.namespace)
        let wasEmpty = false
        const fill = async (transaction: NamespaceTransaction) => {
          wasEmpty = (await objectsOf(transaction.query, layoutOf(scope))).length === 0
          return work(transaction)
        }
        try {
          // Nor has an empty one a log, which is all that a crash left of a run.
          if (made || isEmpty(path)) await useWriteAheadLog(openConnection, path, timeoutMs)
          return await inMigration(file, fill, {
            // Another process may have made it, failed and removed it, while we waited for its lock.
            begun: look(),
            // Under SQLite's lock, and only what this made and nobody filled before it had the lock: who waits for it makes
            // another as soon as it is gone. What fails before there is a lock leaves an empty file, which another process may
            // be about to fill.
            failed: () => made && wasEmpty && isSame(made, identityOf(path, scope.namespace)) && remove(path),
          })
        } catch (error) {
          if (made) file.drop()
          throw error
        }
      })
    },

    async inside(scope, work) {
      const { path } = ownPlace(location, scope)
      return withLock(files, scope, async (file) =>
        identityOf(path, scope.namespace) === undefined ? undefined : inMigration(file, work),
      )
    },

    async remove(scope) {
      const { path } = ownPlace(location, scope)
      return withLock(files, scope, async (file) => {
        const found = identityOf(path, scope.namespace) !== undefined
        const report = found
          ? await inMigration(file, async ({ query }) => {
              const layout = layoutOf(scope)
              const objects = (await isOwn(query, scope, layout)) ? (await objectsOf(query, layout)).length + 1 : 0
              // Under SQLite's lock: nobody can put anything into it any more.
              rmSync(path, { force: true })
              return Object.freeze({ objects, rows: 0 })
            })
          : NOTHING
        removeFiles(file, path)
        const left = filesOf(path).filter((one) => lstatSync(one, { throwIfNoEntry: false }) !== undefined)
        if (left.length > 0) throw tenancyError('TENANCY_ERR_DESTROY_INCOMPLETE', [`${left.length} files are left`])
        return report
      })
    },
  } satisfies OwnFiles)
}

async function withLock<T>(files: TenantFiles, scope: Scope, work: (file: DatabaseFile) => Promise<T>): Promise<T> {
  const { file, release } = await files.lease(scope)
  try {
    const unlock = await file.lock('transaction')
    try {
      return await work(file)
    } finally {
      unlock()
    }
  } finally {
    release()
  }
}

/** Makes the file if nothing is there, not even a link; undefined when something is. */
function makeFile(path: string, namespace: string): FileIdentity | undefined {
  try {
    closeSync(openSync(path, 'wx', 0o600))
    return identityOf(path, namespace)
  } catch (error) {
    if ((error as { code?: unknown }).code !== 'EEXIST') {
      throw tenancyError('TENANCY_ERR_DATABASE_UNAVAILABLE', [], error)
    }
    identityOf(path, namespace)
    return undefined
  }
}

function isEmpty(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.size === 0
}

/** Our connections go first. */
function removeFiles(file: DatabaseFile, path: string): void {
  file.drop()
  remove(path)
}

/** The file itself last: nobody makes another before. */
function remove(path: string): void {
  for (const one of filesOf(path).toReversed()) rmSync(one, { force: true })
}

function filesOf(path: string): string[] {
  return [path, ...SIDE_FILES.map((suffix) => path + suffix)]
}
