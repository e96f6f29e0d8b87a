import type { PoolStats } from '../../../contracts/dialect.ts'
import type { Scope } from '../../../contracts/isolation.ts'
import { tenancyError } from '../../../errors.ts'
import type { DatabaseFile } from './database-file.ts'

/** A file that stays open until it is released, once. */
export interface Lease<F extends DatabaseFile = DatabaseFile> {
  readonly file: F
  release(): void
}

/** The files of tenants, opened when they are needed and closed when others need the room. */
export interface TenantFiles<F extends DatabaseFile = DatabaseFile> {
  /**
   * The file of a tenant. Waits for room when all open files are in use.
   * @throws TENANCY_ERR_POOL_TIMEOUT, TENANCY_ERR_CLOSED
   */
  lease(scope: Scope): Lease<F> | Promise<Lease<F>>
  /** The same for who cannot wait: undefined when all open files are in use. @throws TENANCY_ERR_CLOSED */
  leaseNow(scope: Scope): Lease<F> | undefined
  /** The file as it is now: others may close it as soon as the caller gives way. Undefined and throws as `leaseNow`. */
  fileNow(scope: Scope): F | undefined
  /** Closes the tenant's file, now or when it is no longer in use. */
  forget(scope: Scope): void
  stats(): PoolStats
  /** Refuses whoever comes later, waits for who is at it, at most `patienceMs`, and closes all. */
  close(patienceMs: number): Promise<void>
}

/** Options of {@link createTenantFiles}. */
export interface TenantFilesOptions<F extends DatabaseFile> {
  readonly create: (scope: Scope) => F
  readonly maxOpen: number
  /** Longest wait for room. */
  readonly timeoutMs: number
}

interface Entry<F extends DatabaseFile> {
  readonly tenantId: string
  readonly file: F
  users: number
  /** Who was used later has the higher one. */
  lastUse: number
  /** To be closed as soon as nobody uses it. */
  doomed: boolean
}

/** Makes {@link TenantFiles}. */
export function createTenantFiles<F extends DatabaseFile>({
  create,
  maxOpen,
  timeoutMs,
}: TenantFilesOptions<F>): TenantFiles<F> {
  const entries = new Map<string, Entry<F>>()
  let uses = 0
  const waiters: (() => void)[] = []
  let closed = false
  let emptied = () => {}

  const inUse = () => [...entries.values()].filter(({ users }) => users > 0).length
  const shut = (namespace: string, { file }: Entry<F>): void => {
    entries.delete(namespace)
    void file.close()
  }
  const makeRoom = (): boolean => {
    if (entries.size < maxOpen) return true
    const idle = [...entries].filter(([, { users }]) => users === 0)
    const [least] = idle.toSorted(([, one], [, other]) => one.lastUse - other.lastUse)
    if (least === undefined) return false
    shut(...least)
    return true
  }
  const use = (namespace: string, entry: Entry<F>): Lease<F> => {
    entry.users++
    let released = false
    return {
      file: entry.file,
      release() {
        if (released) return
        released = true
        if (--entry.users > 0) return
        if (entry.doomed) shut(namespace, entry)
        waiters.shift()?.()
        if (closed && inUse() === 0) emptied()
      },
    }
  }

  const at = (scope: Scope): Entry<F> | undefined => {
    const { namespace, tenantId } = scope
    if (closed) throw tenancyError('TENANCY_ERR_CLOSED')
    const found = entries.get(namespace)
    // The open file was found to be that tenant's, and nobody else's.
    if (found !== undefined && found.tenantId !== tenantId) {
      throw tenancyError('TENANCY_ERR_NAMESPACE_EXISTS', [namespace])
    }
    if (found === undefined && !makeRoom()) return undefined
    const entry = found ?? { tenantId, file: create(scope), users: 0, lastUse: 0, doomed: false }
    if (found === undefined) entries.set(namespace, entry)
    entry.lastUse = ++uses
    return entry
  }
  const leaseNow = (scope: Scope): Lease<F> | undefined => {
    const entry = at(scope)
    return entry && use(scope.namespace, entry)
  }
  const whenThereIsRoom = async (scope: Scope): Promise<Lease<F>> => {
    const deadline = performance.now() + timeoutMs
    for (;;) {
      await roomFor(waiters, deadline, timeoutMs)
      const lease = leaseNow(scope)
      if (lease !== undefined) return lease
    }
  }

  return Object.freeze({
    lease: (scope: Scope) => leaseNow(scope) ?? whenThereIsRoom(scope),
    leaseNow,
    fileNow: (scope: Scope) => at(scope)?.file,

    forget({ namespace }: Scope) {
      const entry = entries.get(namespace)
      if (entry === undefined) return
      entry.doomed = true
      if (entry.users === 0) shut(namespace, entry)
    },

    stats: () => ({ total: entries.size, idle: entries.size - inUse(), waiting: waiters.length }),

    async close(patienceMs: number) {
      closed = true
      for (const wake of waiters.splice(0)) wake()
      if (inUse() > 0) {
        let impatience: NodeJS.Timeout | undefined
        await new Promise<void>((resolve) => {
          emptied = resolve
          impatience = setTimeout(resolve, patienceMs)
        })
        clearTimeout(impatience)
      }
      for (const { file } of entries.values()) await file.close()
      entries.clear()
    },
  })
}

/** Waits until somebody gives room. */
function roomFor(waiters: (() => void)[], deadline: number, timeoutMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const wake = () => {
      clearTimeout(timer)
      resolve()
    }
    const late = () => {
      waiters.splice(waiters.indexOf(wake), 1)
      reject(tenancyError('TENANCY_ERR_POOL_TIMEOUT', [timeoutMs]))
    }
    const timer = setTimeout(late, Math.max(0, deadline - performance.now()))
    waiters.push(wake)
  })
}
