import type { AdminConnection, DatabaseServer, Guard, PoolStats } from '../../../contracts/dialect.ts'
import type { Scope } from '../../../contracts/isolation.ts'
import type { SharedTables } from '../../../contracts/shared-tables.ts'
import type { StrategyName } from '../../../contracts/tenant.ts'
import { tenancyError } from '../../../errors.ts'
import { createTextScoper } from '../../../sql/scoped-text.ts'
import { loadPeer } from '../../../util/load-peer.ts'
import { checkBaseline } from '../baseline.ts'
import { adoptedStrategies, capabilities } from '../capabilities.ts'
import type { AdoptionRights } from '../adopt-schema.ts'
import { openAdoptingSession } from '../adopting-session.ts'
import { inspectDatabase } from '../doctor/inspect-database.ts'
import { destroyNamespace, releaseNamespace } from '../destroy-namespace.ts'
import { layoutOf, type LayoutOptions, writtenStrategies } from '../layout.ts'
import { leadingKeyword } from '../lexer.ts'
import { postgresProfile } from '../profile.ts'
import { quoteIdentifier } from '../quote.ts'
import { createDdlParser } from '../rewrite-ddl.ts'
import { REVOKE_SHARED, roleRights } from '../roles-script.ts'
import { scopeSql } from '../scope-sql.ts'
import { assertWall } from '../session-rights.ts'
import { sharedNamespace } from '../shared/namespace.ts'
import { verifyScope } from '../verify/verify-scope.ts'
import { createPgliteConnection, type OpenTransaction, type Owner, type PgliteConnection } from './pglite-connection.ts'
import { lockFolder } from './pglite-folder-lock.ts'
import {
  PGLITE_SERVING_ROLE,
  pgliteLazyTransaction,
  type PgliteSession,
  pgliteTenantClient,
  SERVING,
} from './pglite-tenant-client.ts'
import type { Pglite, PgliteModule, PgliteQuery } from './pglite-types.ts'
import { createPgliteWire } from './pglite-wire.ts'

/** Options of {@link createPgliteServer}. */
export interface PgliteServerOptions {
  /** Folder of the data, or `undefined` for memory. */
  readonly folder: string | undefined
  /** What may be asked of this server. Default all that it carries. */
  readonly strategies?: readonly StrategyName[]
  readonly registrySchema: string
  /** The schemas that tenants share. */
  readonly shared: LayoutOptions
  /** Tables that all tenants use. Default none. */
  readonly sharedTables?: SharedTables | undefined
  /** Seconds a statement may wait for the one connection. */
  readonly poolTimeout: number
  readonly onStatement: ((text: string) => void) | undefined
}

const IN_MEMORY =
  'The database is in memory: tenants and rows are gone when this process ends. `pglite:<folder>` as `databaseUrl` keeps them.'

/** The user that PGlite's one session belongs to. */
const SUPERUSER = 'postgres'

interface Opened {
  readonly connection: PgliteConnection
  readonly drizzle: (options: { client: object }) => unknown
  readonly unlock: () => void
}

/** PostgreSQL embedded in this process: for development, tests and demos. One connection, one process per folder. */
export function createPgliteServer(options: PgliteServerOptions): DatabaseServer {
  let opening: Promise<Opened> | undefined
  let opened: Opened | undefined
  let closing: Promise<void> | undefined
  const parts = (): Opened => {
    if (opened === undefined) throw tenancyError('TENANCY_ERR_NOT_STARTED')
    return opened
  }
  const scopeText = createTextScoper(postgresProfile)
  const session = (scope: Scope, guard: Guard): PgliteSession => {
    const layout = layoutOf(scope, options.shared)
    const { set, again } = scopeSql(scope, layout)
    return Object.freeze({
      tenantId: scope.tenantId,
      lead: `${SERVING};${set}`,
      again,
      scopeText: scopeText(layout.naming),
      guard,
      onStatement: options.onStatement,
    })
  }
  const rights: AdoptionRights = {
    registrySchema: options.registrySchema,
    servingRole: PGLITE_SERVING_ROLE,
    shared: options.shared,
    sharedTables: options.sharedTables,
  }
  const adminOf = (clientsOwner: Owner): AdminConnection =>
    Object.freeze({
      get client() {
        return adminClient(parts().connection, clientsOwner)
      },
      query: <TRow>(text: string, parameters?: readonly unknown[]) =>
        asAdmin(parts().connection, LIBRARY, (open) => run<TRow>(open, text, parameters)),
      transaction: <T>(work: (query: AdminConnection['query']) => Promise<T>) =>
        inAdminTransaction(parts().connection, LIBRARY, (open) =>
          work((text, parameters) => run(open, text, parameters)),
        ),
    })
  const admin = adminOf(USERS)

  const unscoped: AdminConnection['transaction'] = (work) =>
    parts().connection.transaction(LIBRARY, UNSCOPED, (open) => work((text, parameters) => run(open, text, parameters)))
  const confined = {
    client: (scope: Scope, guard: Guard) => pgliteTenantClient(parts().connection, session(scope, guard)),
    lazyTransaction: (scope: Scope, guard: Guard) =>
      pgliteLazyTransaction(parts().connection, session(scope, guard), options.poolTimeout * 1000),
  }

  return Object.freeze({
    capabilities,
    textScoped: writtenStrategies(options.shared),
    adopts: adoptedStrategies,
    admin,
    shared: options.sharedTables && sharedNamespace(options.sharedTables, admin.transaction, () => rights),
    registry: Object.freeze({ dialect: 'postgres', connection: adminOf(LIBRARY), exclusive: true }),

    async open() {
      if (closing !== undefined) throw tenancyError('TENANCY_ERR_CLOSED')
      opening ??= load(options).catch((error: unknown) => {
        opening = undefined
        throw error
      })
      const ready = await opening
      opened ??= ready
      const asServing: AdminConnection['query'] = (text, parameters) =>
        ready.connection.transaction(LIBRARY, UNSCOPED, (open) => run(open, text, parameters))
      const { extensionsSchema, tenantRoles = false } = options.shared
      const baseline = await checkBaseline(asServing, {
        registrySchema: options.registrySchema,
        extensionsSchema,
        rlsSchema: options.shared.rlsSchema,
        adminRole: SUPERUSER,
      })
      const shown = tenantRoles ? await assertWall(asServing, baseline, { adminRole: SUPERUSER, extensionsSchema }) : []
      const breaches = baseline.breaches.map(
        (breach) => `Baseline rule: without a scope the embedded serving role must reach nothing, but ${breach}.`,
      )
      return [...(options.folder === undefined ? [IN_MEMORY] : []), ...shown, ...breaches]
    },

    ...confined,
    drizzleImport: 'drizzle-orm/pglite',
    drizzleSession: 'PgliteSession',
    drizzle: (client: object) => parts().drizzle({ client }),
    inNamespace: (scope, work) =>
      admin.transaction(async (query) => work(await openAdoptingSession(query, scope, rights))),
    destroy: (scope) => destroyNamespace(admin, scope, rights),
    release: (scope) => releaseNamespace(admin, scope, rights),
    verify: (scope) =>
      verifyScope({
        server: { admin, ...confined },
        scope,
        shared: options.shared,
        role: PGLITE_SERVING_ROLE,
        inside: admin.transaction,
        unscoped,
      }),
    inspect: () =>
      inspectDatabase({
        ...options,
        strategies: options.strategies ?? Object.values(capabilities),
        admin: admin.query,
        serving: (text, parameters) => unscoped((query) => query(text, parameters)),
        adminRole: SUPERUSER,
      }),
    parseDdl: createDdlParser(options.shared, options.sharedTables),

    async ping() {
      await admin.query('select 1')
    },
    stats(): Readonly<Record<string, PoolStats>> {
      if (opened === undefined) return {}
      const { waiting, busy } = opened.connection
      return { embedded: { total: 1, idle: busy ? 0 : 1, waiting } }
    },
    async close() {
      closing ??= close(opening)
      await closing
    },
  } satisfies DatabaseServer)
}

async function close(opening: Promise<Opened> | undefined): Promise<void> {
  const opened = await opening?.catch(() => undefined)
  await opened?.connection.close()
  opened?.unlock()
}

async function load({ folder, shared, poolTimeout }: PgliteServerOptions): Promise<Opened> {
  const peer: PgliteModule = await loadPeer('@electric-sql/pglite', () => import('@electric-sql/pglite'))
  const { drizzle } = await loadPeer('drizzle-orm', () => import('drizzle-orm/pglite'))
  const unlock = folder === undefined ? () => {} : lockFolder(folder)
  let pglite: Pglite | undefined
  try {
    const embedded = await (folder === undefined ? peer.PGlite.create() : peer.PGlite.create(folder))
    pglite = embedded
    await embedded.exec(setup(shared))
    const wire = createPgliteWire(embedded, peer)
    const timeoutMs = poolTimeout * 1000
    return Object.freeze({
      connection: createPgliteConnection({ wire, timeoutMs, close: () => embedded.close() }),
      drizzle: drizzle as unknown as Opened['drizzle'],
      unlock,
    })
  } catch (error) {
    await pglite?.close().catch(() => {})
    unlock()
    throw tenancyError('TENANCY_ERR_DATABASE_UNAVAILABLE', [' of `databaseUrl` cannot be reached.'], error)
  }
}

/** The baseline rule, inside one process: the role of tenant statements reaches nothing by itself. */
function setup({ extensionsSchema, tenantRoles = false }: LayoutOptions): string {
  const [role, extensions] = [PGLITE_SERVING_ROLE, extensionsSchema].map(quoteIdentifier)
  return `do $$ begin if not exists (select from pg_catalog.pg_roles where rolname = '${PGLITE_SERVING_ROLE}') then create role ${role}; end if; end $$;
    revoke all on schema public from public;
    do $$ begin execute format('revoke temporary on database %I from public', current_database()); end $$;
    ${REVOKE_SHARED}
    create schema if not exists ${extensions};
    grant usage on schema ${extensions} to ${role};
    ${tenantRoles ? roleRights(`${role}`, quoteIdentifier(SUPERUSER), `${extensions}`) : ''}`
}

/** Of who has no scope, and not the admin's rights either. */
const UNSCOPED = `${SERVING};set search_path to ''`

/** Of the admin connection. */
const ADMIN = `set session authorization ${quoteIdentifier(SUPERUSER)};set search_path to ''`

/**
 * Who has the admin's rights, neither of which joins the other: what this library did inside a transaction of its users, who may
 * undo it, it would remember as done.
 */
const LIBRARY = Symbol('library')
const USERS = Symbol('users')

/** Runs `work` as the superuser, in a transaction; inside a tenant's transaction it is refused, one of its owner is joined. */
async function asAdmin<T>(
  connection: PgliteConnection,
  owner: Owner,
  work: (open: OpenTransaction) => Promise<T>,
  join = work,
): Promise<T> {
  const joined = await connection.joinable(owner)
  return joined === undefined ? connection.transaction(owner, ADMIN, work) : join(joined)
}

/** The same, but what `work` did inside another admin transaction is undone when it throws. */
function inAdminTransaction<T>(
  connection: PgliteConnection,
  owner: Owner,
  work: (open: OpenTransaction) => Promise<T>,
): Promise<T> {
  return asAdmin(connection, owner, work, (joined) => joined.nest(work))
}

async function run<TRow>(open: OpenTransaction, text: string, parameters: readonly unknown[] = []): Promise<TRow[]> {
  if (parameters.length > 0) return (await open.query(text, parameters)).rows as TRow[]
  const results = await open.exec(text)
  return (results.at(-1)?.rows ?? []) as TRow[]
}

/** The admin connection as Drizzle takes it. */
function adminClient(connection: PgliteConnection, owner: Owner): object {
  const query = withoutCopy((...statement) => asAdmin(connection, owner, (open) => open.query(...statement)))
  const transaction = <T>(work: (transaction: object) => Promise<T>) =>
    inAdminTransaction(connection, owner, (open) => work(Object.freeze({ query: withoutCopy(open.query) })))
  return Object.freeze({ query, transaction })
}

/** Nobody would feed it, or take what it gives. */
function withoutCopy(query: PgliteQuery): PgliteQuery {
  return async (...statement) => {
    if (leadingKeyword(statement[0]) !== 'copy') return query(...statement)
    throw tenancyError('TENANCY_ERR_STATEMENT_REFUSED', ['COPY on an embedded database'])
  }
}
