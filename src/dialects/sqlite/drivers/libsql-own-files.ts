import { closeSync, lstatSync, openSync, rmSync } from 'node:fs'
import type { DestroyReport } from '../../../contracts/dialect.ts'
import type { Scope } from '../../../contracts/isolation.ts'
import { tenancyError } from '../../../errors.ts'
import { NOTHING } from '../destroy-namespace.ts'
import { layoutOf } from '../layout.ts'
import { FIND_LEDGER, isMarkedFor, LEDGER } from '../ledger.ts'
import { type FileIdentity, identityOf, type Location, SIDE_FILES, tenantFile } from '../location.ts'
import { isOwn, type NamespaceTransaction, objectsOf } from '../namespace-session.ts'
import { connect, type Purpose, useWriteAheadLog } from './libsql-connection.ts'
import { createDatabaseFile, type DatabaseFile } from './libsql-file.ts'
import { inMigration } from './libsql-migration.ts'
import { createTenantFiles, type TenantFiles } from './libsql-tenant-files.ts'
import type { CreateLibsqlClient, LibsqlClient } from './libsql-types.ts'

/** The files of tenants that have one of their own: named after the namespace, never after anything that a user chose. */
export interface OwnFiles extends TenantFiles {
  /** Runs `work` in one transaction on the tenant's file, which is made if it is not there, and removed if `work` throws. */
  provision<T>(scope: Scope, work: (transaction: NamespaceTransaction) => Promise<T>): Promise<T>
  /** Runs `work` in one transaction on the tenant's file; undefined when it is not there. */
  inside<T>(scope: Scope, work: (transaction: NamespaceTransaction) => Promise<T>): Promise<T | undefined>
  /** Removes the tenant's file. @throws TENANCY_ERR_NAMESPACE_EXISTS, TENANCY_ERR_DESTROY_INCOMPLETE */
  remove(scope: Scope): Promise<DestroyReport>
}

/** Options of {@link createOwnFiles}. */
export interface OwnFilesOptions {
  readonly createClient: CreateLibsqlClient
  readonly location: Location
  /** Longest wait for a file or its writer. */
  readonly timeoutMs: number
  readonly maxOpenFiles: number
}

/** Makes {@link OwnFiles}. */
export function createOwnFiles({ createClient, location, timeoutMs, maxOpenFiles }: OwnFilesOptions): OwnFiles {
  const open = async (scope: Scope, purpose: Purpose): Promise<LibsqlClient> => {
    const { namespace } = scope
    const path = pathOf(location, scope)
    // SQLite would make an empty file of what is not there.
    const before = identityOf(path, namespace)
    if (before === undefined) throw gone()
    const client = await connect(createClient, path, purpose)
    try {
      if (!isSame(before, identityOf(path, namespace))) throw gone()
      if (purpose !== 'ddl') await assertOwn(client, scope)
      return client
    } catch (error) {
      client.close()
      throw error
    }
  }
  const files = createTenantFiles({
    create: (scope) => createDatabaseFile({ open: (purpose) => open(scope, purpose), timeoutMs }),
    maxOpen: maxOpenFiles,
    timeoutMs,
  })

  return Object.freeze({
    ...files,

    async provision(scope, work) {
      const path = pathOf(location, scope)
      return withLock(files, scope, async (file) => {
        const made = makeFile(path, scope.namespace)
        try {
          if (made) await useWriteAheadLog(createClient, path, timeoutMs)
          const before = identityOf(path, scope.namespace)
          return await inMigration(file, work, {
            begun() {
              // Another process may have made it, failed and removed it, while we waited for its lock.
              if (!isSame(before, identityOf(path, scope.namespace))) throw gone()
            },
            failed: () => made && rmSync(path, { force: true }),
          })
        } catch (error) {
          if (made) removeFiles(file, path)
          throw error
        }
      })
    },

    async inside(scope, work) {
      const path = pathOf(location, scope)
      return withLock(files, scope, async (file) =>
        identityOf(path, scope.namespace) === undefined ? undefined : inMigration(file, work),
      )
    },

    async remove(scope) {
      const path = pathOf(location, scope)
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

function pathOf(location: Location, scope: Scope): string {
  // Checks the namespace before anything is made of it.
  layoutOf(scope)
  return tenantFile(location, scope.namespace)
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

/** Makes the file if nothing is there, not even a link; true when it was made now. */
function makeFile(path: string, namespace: string): boolean {
  try {
    closeSync(openSync(path, 'wx', 0o600))
    return true
  } catch (error) {
    if ((error as { code?: unknown }).code !== 'EEXIST') {
      throw tenancyError('TENANCY_ERR_DATABASE_UNAVAILABLE', [], error)
    }
    identityOf(path, namespace)
    return false
  }
}

/** Our connections go first. */
function removeFiles(file: DatabaseFile, path: string): void {
  file.drop()
  for (const one of filesOf(path)) rmSync(one, { force: true })
}

function filesOf(path: string): string[] {
  return [path, ...SIDE_FILES.map((suffix) => path + suffix)]
}

async function assertOwn(client: LibsqlClient, scope: Scope): Promise<void> {
  const { rows } = await client.execute({ sql: FIND_LEDGER, args: [LEDGER] })
  const [found] = rows as readonly { sql?: unknown }[]
  if (!isMarkedFor(scope, found?.sql)) throw tenancyError('TENANCY_ERR_NAMESPACE_EXISTS', [scope.namespace])
}

function isSame(one: FileIdentity | undefined, other: FileIdentity | undefined): boolean {
  return one !== undefined && one.device === other?.device && one.inode === other.inode
}

function gone(): Error {
  return tenancyError('TENANCY_ERR_DATABASE_UNAVAILABLE')
}
