import type { DatabaseServer, Guard, LazyTransaction } from '../../contracts/dialect.ts'
import type { Scope } from '../../contracts/isolation.ts'
import type { SharedTables } from '../../contracts/shared-tables.ts'
import { isTenancyError, tenancyError } from '../../errors.ts'
import { capabilities, textScoped } from './capabilities.ts'
import { createDdlParser } from './ddl.ts'
import { destroyPrefixed } from './destroy-namespace.ts'
import { adminConnection } from './files/admin-connection.ts'
import { useWriteAheadLog } from './files/connection.ts'
import type { OpenConnection } from './files/connection-types.ts'
import type { DatabaseFile } from './files/database-file.ts'
import type { FileSession } from './files/file-session.ts'
import { inMigration } from './files/migration.ts'
import { createOwnFiles, type OwnFiles } from './files/own-files.ts'
import { type Place, sharedPlace } from './files/place.ts'
import type { Lease } from './files/tenant-files.ts'
import { inspectFiles } from './inspect-files.ts'
import { layoutOf, sharedNaming } from './layout.ts'
import { type Location, locationOf, prepare } from './location.ts'
import { type NamespaceTransaction, openNamespaceSession } from './namespace-session.ts'
import { refuseMisuse } from './shared/misuse.ts'
import { sharedNamespace } from './shared/namespace.ts'
import { doorOf } from './shared/read-only.ts'
import { createStatementReader } from './statement.ts'
import { type Namings, render } from './template.ts'
import { type ScopeTrial, verifyScope } from './verify/verify-scope.ts'

/** Options of a server on SQLite, whatever its driver. */
export interface SqliteServerOptions {
  /** `file:<path>`: the main file, with the tables of all tenants that are told apart by a prefix. */
  readonly url: string
  /** Folder of the files of tenants that have one of their own. Default `<path>.tenants`. */
  readonly tenantFolder: string | undefined
  /** Files of tenants that are open at once, with at most two connections each. */
  readonly maxOpenFiles: number
  /** Seconds a statement may wait for a file or its writer. */
  readonly poolTimeout: number
  /** Seconds after which `close()` closes files that are still in use. Default 10. */
  readonly closeTimeout?: number
  /** Tables that all tenants use. Default none. */
  readonly sharedTables?: SharedTables | undefined
  /** Told every statement of a tenant, without its parameters. */
  readonly onStatement: ((text: string) => void) | undefined
}

/** What a client library brings when it is loaded. */
export interface LoadedDriver<F extends DatabaseFile> {
  readonly openConnection: OpenConnection
  /** Nothing is opened before it is needed. */
  createFile(place: Place, timeoutMs: number): F
  /** Its Drizzle factory. */
  readonly drizzle: (options: { client: object }) => unknown
}

/** A client library, and what Drizzle is given for it. All else is one code for all. */
export interface SqliteDriver<F extends DatabaseFile>
  extends Pick<DatabaseServer, 'drizzleImport' | 'drizzleSession' | 'synchronous'> {
  /** @throws TENANCY_ERR_PEER_MISSING */
  load(): Promise<LoadedDriver<F>>
  client(session: FileSession<F>): object
  lazyTransaction(session: FileSession<F>, timeoutMs: number): LazyTransaction
  /** How `verify` tries what a tenant might do: by its client, or in a transaction that is undone. */
  readonly trial: Pick<SqliteDriver<F>, 'lazyTransaction'> & Pick<ScopeTrial, 'outcomeOn'>
}

interface Opened<F extends DatabaseFile> extends LoadedDriver<F> {
  readonly location: Location
  readonly main: F
  /** It stays open, so there is nothing to release. */
  readonly mainLease: Lease<F>
  readonly registry: F
  readonly own: OwnFiles<F>
}

const NO_WAL =
  'The file system of databaseUrl has no write-ahead log: readers and the writer of a SQLite file wait for each other.'

/** SQLite on local files, by a driver. Nothing is opened before `open()`. */
export function createSqliteServer<F extends DatabaseFile>(
  options: SqliteServerOptions,
  driver: SqliteDriver<F>,
): DatabaseServer {
  const location = locationOf(options.url, options.tenantFolder)
  const { sharedTables } = options
  const timeoutMs = options.poolTimeout * 1000
  const shared = sharedNames(sharedTables)
  const readStatement = createStatementReader(sharedTables && sharedNaming(sharedTables.schema).prefix)
  let sealed = false
  let opened: Opened<F> | undefined
  let closing: Promise<void> | undefined
  const parts = (): Opened<F> => {
    if (closing !== undefined) throw tenancyError('TENANCY_ERR_CLOSED')
    if (opened === undefined) throw tenancyError('TENANCY_ERR_NOT_STARTED')
    return opened
  }
  const main = () => parts().main
  const session = (scope: Scope, guard: Guard): FileSession<F> => {
    const { own, naming } = layoutOf(scope)
    const namings = { tenant: naming, ...shared }
    parts()
    return Object.freeze({
      namespace: scope.namespace,
      lease: () => (own ? parts().own.lease(scope) : parts().mainLease),
      leaseNow: () => (own ? parts().own.leaseNow(scope) : parts().mainLease),
      fileNow: () => (own ? parts().own.fileNow(scope) : parts().main),
      prepare(text: string) {
        const { kind, refusal, sharedRefusal, template } = readStatement(text)
        const reason = refusal ?? (own ? undefined : sharedRefusal)
        if (reason !== undefined) throw tenancyError('TENANCY_ERR_STATEMENT_REFUSED', [reason])
        return { kind, text: own ? template.bare : render(template, namings) }
      },
      guard,
      onStatement: options.onStatement,
    })
  }
  const inMainFile = async <T>(work: (transaction: NamespaceTransaction) => Promise<T>): Promise<T> => {
    const file = main()
    const unlock = await file.lock('transaction')
    try {
      return await inMigration(file, work)
    } finally {
      unlock()
    }
  }

  const admin = adminConnection(main, driver.client, {
    write: (text) => render(readStatement(text).template, shared),
    door: () => (sealed && sharedTables !== undefined ? doorOf(sharedTables) : undefined),
  })
  const confined = {
    client: (scope: Scope, guard: Guard) => driver.client(session(scope, guard)),
    lazyTransaction: (scope: Scope, guard: Guard) => driver.lazyTransaction(session(scope, guard), timeoutMs),
  }
  const tried = {
    client: confined.client,
    lazyTransaction: (scope: Scope, guard: Guard) => driver.trial.lazyTransaction(session(scope, guard), timeoutMs),
  }

  return Object.freeze({
    capabilities,
    textScoped,
    admin,
    shared: sharedTables && sharedNamespace(sharedTables, { inMainFile, sealed: () => void (sealed = true) }),
    registry: Object.freeze({ dialect: 'sqlite', connection: adminConnection(() => parts().registry, driver.client) }),

    async open() {
      if (closing !== undefined) throw tenancyError('TENANCY_ERR_CLOSED')
      const ready = opened ?? (await load(options, driver, location))
      try {
        const { mainFile, registryFile } = ready.location
        const logs: boolean[] = []
        // The registry too: without the log, processes that write it at once can shut it for each other, for as long as they live.
        for (const file of [mainFile, registryFile]) {
          logs.push(await useWriteAheadLog(ready.openConnection, file, ready.main.timeoutMs))
        }
        opened ??= ready
        return logs.includes(false) ? [NO_WAL] : []
      } catch (error) {
        throw tenancyError('TENANCY_ERR_DATABASE_UNAVAILABLE', [' of `databaseUrl` cannot be reached.'], error)
      }
    },

    ...confined,
    forget(scope: Scope) {
      if (scope.strategy === 'database') opened?.own.forget(scope)
    },
    drizzleImport: driver.drizzleImport,
    drizzleSession: driver.drizzleSession,
    synchronous: driver.synchronous,
    drizzle: (client: object) => parts().drizzle({ client }),

    async inNamespace(scope, work) {
      const layout = layoutOf(scope)
      const inFile = (transaction: NamespaceTransaction) => {
        const session = openNamespaceSession(transaction, scope, layout)
        if (sharedTables === undefined || layout.own) return work(session)
        return work({
          ...session,
          async seal() {
            await session.seal()
            await refuseMisuse(transaction.query, layout, sharedTables)
          },
        })
      }
      return layout.own ? parts().own.provision(scope, inFile) : inMainFile(inFile)
    },
    async destroy(scope) {
      const layout = layoutOf(scope)
      if (layout.own) return parts().own.remove(scope)
      return inMainFile((transaction) => destroyPrefixed(transaction, scope, layout))
    },
    verify: (scope) =>
      verifyScope({
        server: tried,
        outcomeOn: driver.trial.outcomeOn,
        scope,
        sharedPrefix: sharedTables && sharedNaming(sharedTables.schema).prefix,
        unscoped: admin.transaction,
        inside: (one, work) => (layoutOf(one).own ? parts().own.inside(one, work) : inMainFile(work)),
      }),
    inspect: () => inspectFiles(admin.query, parts().location),
    parseDdl: createDdlParser(sharedTables),

    async ping() {
      await main().read([{ sql: 'select 1' }])
    },
    stats() {
      if (opened === undefined) return {}
      const { waiting } = opened.main
      return { main: { total: 1, idle: waiting > 0 ? 0 : 1, waiting }, tenants: opened.own.stats() }
    },
    close() {
      closing ??= end(opened, (options.closeTimeout ?? 10) * 1000)
      return closing
    },
  } satisfies DatabaseServer)
}

/** What `"__shared__"."name"` becomes. */
function sharedNames(shared: SharedTables | undefined): Namings {
  if (shared === undefined) return {}
  const naming = sharedNaming(shared.schema)
  const names = new Set(shared.names)
  return { shared: (name) => (names.has(name) ? naming : undefined) }
}

async function load<F extends DatabaseFile>(
  { poolTimeout, maxOpenFiles }: SqliteServerOptions,
  driver: SqliteDriver<F>,
  location: Location,
): Promise<Opened<F>> {
  const loaded = await driver.load()
  const timeoutMs = poolTimeout * 1000
  const real = withFolders(location)
  const createFile = (place: Place) => loaded.createFile(place, timeoutMs)
  const main = createFile(sharedPlace(real.mainFile))
  return Object.freeze({
    ...loaded,
    location: real,
    main,
    mainLease: Object.freeze({ file: main, release() {} }),
    registry: createFile(sharedPlace(real.registryFile)),
    own: createOwnFiles({ ...loaded, createFile, location: real, timeoutMs, maxOpenFiles }),
  })
}

function withFolders(location: Location): Location {
  try {
    return prepare(location)
  } catch (error) {
    throw isTenancyError(error)
      ? error
      : tenancyError(
          'TENANCY_ERR_DATABASE_UNAVAILABLE',
          [' of `databaseUrl`, or its `tenantFolder`, cannot be reached.'],
          error,
        )
  }
}

/** Waits for what is under way, at most `patienceMs`; what is still open then is rolled back. */
async function end(opened: Opened<DatabaseFile> | undefined, patienceMs: number): Promise<void> {
  if (opened === undefined) return
  const { main, registry, own } = opened
  await Promise.all([
    own.close(patienceMs),
    ...[main, registry].map((file) => atMost(patienceMs, file.lock('statement'))),
  ])
  await Promise.all([main.close(), registry.close()])
}

/** Settles when `work` does, whichever way, or when its time is over. */
async function atMost(milliseconds: number, work: Promise<unknown>): Promise<void> {
  let impatience: NodeJS.Timeout | undefined
  const late = new Promise((resolve) => {
    impatience = setTimeout(resolve, milliseconds)
  })
  await Promise.allSettled([Promise.race([work, late])])
  clearTimeout(impatience)
}
