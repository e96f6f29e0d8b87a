import type { Guard } from '../contracts/dialect.ts'

/**
 * What drizzle-orm takes as `cache`, in both versions. Its keys are made of SQL and parameters, and its tables have no
 * tenant: shared as it is, it hands one tenant another's rows.
 */
interface QueryCache {
  strategy(): 'explicit' | 'all'
  get(key: string, tables: string[], isTag: boolean, isAutoInvalidate?: boolean): Promise<unknown[] | undefined>
  put(key: string, response: unknown, tables: string[], isTag: boolean, config?: unknown): Promise<void>
  onMutate(mutation: CacheMutation): Promise<void>
}

/** What was changed. A table is a name or a table of Drizzle. */
interface CacheMutation {
  readonly tags?: string | readonly string[]
  readonly tables?: unknown
}

/** Makes one tenant's view of a cache that all share. It can stand wherever Drizzle wants the cache itself. */
export type CacheView = <T extends object>(shared: T) => T

const kName = Symbol.for('drizzle:Name')
const kSchema = Symbol.for('drizzle:Schema')

/**
 * The view of one tenant: every key, tag and table carries the tenant's id. A cached answer is refused like a statement
 * when the tenant is no longer served or the context is another tenant's.
 */
export function tenantCacheView(tenantId: string, guard: Guard, views: WeakSet<object>): CacheView {
  const own = (name: string) => `${tenantId}:${name}`
  return function cacheView<T extends object>(cache: T): T {
    const shared = cache as unknown as QueryCache
    // Not frozen: Drizzle writes a member of its own to it, and calls the others unbound.
    const view: QueryCache = {
      strategy: () => shared.strategy(),
      async get(key, tables, isTag, isAutoInvalidate) {
        guard()
        return shared.get(own(key), tables.map(own), isTag, isAutoInvalidate)
      },
      put: (key, response, tables, isTag, config) => shared.put(own(key), response, tables.map(own), isTag, config),
      onMutate: ({ tags, tables }) =>
        shared.onMutate({
          ...(tags !== undefined && { tags: listOf(tags).map((tag) => own(String(tag))) }),
          ...(tables !== undefined && { tables: listOf(tables).map((table) => own(nameOf(table))) }),
        }),
    }
    views.add(view)
    return view as unknown as T
  }
}

/** The view of the admin connection: it reads what others change unseen, so it keeps nothing. */
export function noCacheView(views: WeakSet<object>): CacheView {
  return function cacheView<T extends object>(_shared: T): T {
    const view: QueryCache = {
      strategy: () => 'explicit',
      get: async () => undefined,
      async put() {},
      async onMutate() {},
    }
    views.add(view)
    return view as unknown as T
  }
}

function listOf(values: unknown): readonly unknown[] {
  return Array.isArray(values) ? values : [values]
}

/** The name under which Drizzle caches what is read from a table. */
function nameOf(table: unknown): string {
  if (typeof table !== 'object' || table === null) return String(table)
  const [schema, name] = [Reflect.get(table, kSchema), Reflect.get(table, kName)] as const
  return typeof schema === 'string' ? `${schema}.${String(name)}` : String(name)
}
