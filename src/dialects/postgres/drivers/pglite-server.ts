import { AsyncLocalStorage } from 'node:async_hooks'
import type { AdminConnection, DatabaseServer, Guard, PoolStats } from '../../../contracts/dialect.ts'
import type { Capability, Scope } from '../../../contracts/isolation.ts'
import { tenancyError } from '../../../errors.ts'
import { createMutex } from '../../../util/mutex.ts'
import { checkBaseline } from '../baseline.ts'
import { openNamespaceSession } from '../namespace-session.ts'
import { quoteIdentifier } from '../quote.ts'
import { rewriteDdl } from '../rewrite-ddl.ts'
import { scopeSql } from '../scope-sql.ts'
import {
  joinable,
  type OpenTransaction,
  PGLITE_SERVING_ROLE,
  pgliteLazyTransaction,
  type PgliteSession,
  type PgliteShared,
  pgliteTenantClient,
} from './pglite-tenant-client.ts'
import type { Pglite, PgliteQueryOptions, PgliteTransaction } from './pglite-types.ts'

/** Options of {@link createPgliteServer}. */
export interface PgliteServerOptions {
  /** Folder of the data, or `undefined` for memory. */
  readonly folder: string | undefined
  readonly registrySchema: string
  readonly extensionsSchema: string
  /** Seconds a statement may wait for the one connection. */
  readonly poolTimeout: number
  readonly onStatement: ((text: string) => void) | undefined
}

const capabilities: ReadonlySet<Capability> = new Set<Capability>(['schemas', 'searchPath', 'transactionalDdl'])

interface Opened {
  readonly shared: PgliteShared
  readonly drizzle: (options: { client: object }) => unknown
}

/** PostgreSQL embedded in this process: for development, tests and demos. One connection, one process per folder. */
export function createPgliteServer(options: PgliteServerOptions): DatabaseServer {
  let opened: Opened | undefined
  const parts = (): Opened => {
    if (opened === undefined) throw tenancyError('TENANCY_ERR_NOT_STARTED')
    return opened
  }
  const session = (scope: Scope, guard: Guard): PgliteSession =>
    Object.freeze({ tenantId: scope.tenantId, scope: scopeSql(scope), guard, onStatement: options.onStatement })
  const admin: AdminConnection = Object.freeze({
    get client() {
      return adminClient(parts().shared)
    },
    query: <TRow>(text: string, parameters?: readonly unknown[]) =>
      asAdmin(parts().shared, (open) => run<TRow>(open.transaction, text, parameters)),
    transaction: <T>(work: (query: AdminConnection['query']) => Promise<T>) =>
      asAdmin(parts().shared, (open) => work((text, parameters) => run(open.transaction, text, parameters))),
  })

  return Object.freeze({
    capabilities,
    admin,

    async open() {
      opened ??= await load(options)
      const { breaches } = await checkBaseline(
        (text, parameters) => opened!.shared.pglite.transaction((transaction) => run(transaction, text, parameters)),
        { registrySchema: options.registrySchema, adminRole: 'postgres' },
      )
      return breaches.map(
        (breach) => `Baseline rule: without a scope the embedded serving role must reach nothing, but ${breach}.`,
      )
    },

    client: (scope: Scope, guard: Guard) => pgliteTenantClient(parts().shared, session(scope, guard)),
    lazyTransaction: (scope: Scope, guard: Guard) => pgliteLazyTransaction(parts().shared, session(scope, guard)),
    drizzle: (client: object) => parts().drizzle({ client }),
    inNamespace: (scope, work) =>
      admin.transaction(async (query) =>
        work(await openNamespaceSession(query, scope, { servingRole: PGLITE_SERVING_ROLE })),
      ),
    rewriteDdl,

    async ping() {
      await admin.query('select 1')
    },
    stats(): Readonly<Record<string, PoolStats>> {
      return opened === undefined ? {} : { embedded: { total: 1, idle: 0, waiting: opened.shared.mutex.waiting } }
    },
    async close() {
      if (opened !== undefined && !opened.shared.pglite.closed) await opened.shared.pglite.close()
    },
  } satisfies DatabaseServer)
}

async function load({ folder, extensionsSchema, poolTimeout }: PgliteServerOptions): Promise<Opened> {
  const { PGlite } = await loadPeer('@electric-sql/pglite', () => import('@electric-sql/pglite'))
  const { drizzle } = await loadPeer('drizzle-orm', () => import('drizzle-orm/pglite'))
  const pglite = (await (folder === undefined ? PGlite.create() : PGlite.create(folder))) as unknown as Pglite
  await pglite.exec(setup(extensionsSchema))
  const mutex = createMutex(poolTimeout * 1000, () => tenancyError('TENANCY_ERR_POOL_TIMEOUT', [poolTimeout * 1000]))
  return Object.freeze({
    shared: Object.freeze({ pglite, mutex, current: new AsyncLocalStorage<OpenTransaction>() }),
    drizzle: drizzle as unknown as Opened['drizzle'],
  })
}

/** The baseline rule, inside one process: between two transactions the session itself is the role that reaches nothing. */
function setup(extensionsSchema: string): string {
  const [role, extensions] = [PGLITE_SERVING_ROLE, extensionsSchema].map(quoteIdentifier)
  return `reset role;
    do $$ begin if not exists (select from pg_catalog.pg_roles where rolname = '${PGLITE_SERVING_ROLE}') then create role ${role}; end if; end $$;
    revoke all on schema public from public;
    revoke temporary on database postgres from public;
    create schema if not exists ${extensions};
    grant usage on schema ${extensions} to ${role};
    set search_path to '';
    set role ${role};`
}

async function loadPeer<T>(name: string, load: () => Promise<T>): Promise<T> {
  try {
    return await load()
  } catch (error) {
    throw tenancyError('TENANCY_ERR_PEER_MISSING', [name, name], error)
  }
}

/** Runs `work` as the superuser, in a transaction; inside another tenant's transaction it is refused. */
async function asAdmin<T>(shared: PgliteShared, work: (open: OpenTransaction) => Promise<T>): Promise<T> {
  const joined = joinable(shared, undefined)
  if (joined !== undefined) return work(joined)
  return shared.mutex.run(() =>
    shared.pglite.transaction(async (transaction) => {
      await transaction.exec('set local role none')
      const open: OpenTransaction = { tenantId: undefined, transaction, finished: false }
      try {
        return await shared.current.run(open, () => work(open))
      } finally {
        open.finished = true
      }
    }),
  )
}

async function run<TRow>(
  transaction: PgliteTransaction,
  text: string,
  parameters: readonly unknown[] = [],
): Promise<TRow[]> {
  if (parameters.length > 0) return (await transaction.query(text, parameters)).rows as TRow[]
  const results = await transaction.exec(text)
  return (results.at(-1)?.rows ?? []) as TRow[]
}

/** The admin connection as Drizzle takes it. */
function adminClient(shared: PgliteShared): object {
  const query = (text: string, parameters?: readonly unknown[], options?: PgliteQueryOptions) =>
    asAdmin(shared, ({ transaction }) => transaction.query(text, parameters, options))
  const transaction = <T>(work: (transaction: PgliteTransaction) => Promise<T>) =>
    asAdmin(shared, (open) => work(open.transaction))
  return Object.freeze({ query, transaction })
}
