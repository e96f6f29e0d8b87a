import { createHash, randomBytes } from 'node:crypto'
import type { RedisClient } from '../contracts/redis.ts'
import type { Lease, SharedRead, SharedTenantCache } from '../contracts/shared-cache.ts'
import type { Tenant } from '../contracts/tenant.ts'
import { events } from '../events.ts'
import { type CircuitState, createCircuit } from './circuit.ts'
import { fillScript, type RedisScript, readScript, tellScript } from './redis-scripts.ts'
import type { TenantCodec } from './tenant-codec.ts'

/** What {@link createRedisTenantCache} takes. */
export interface RedisTenantCacheOptions {
  /** Makes a client that is not connected yet. Called once, at `open()`. */
  readonly client: () => Promise<RedisClient>
  readonly codec: () => Promise<TenantCodec>
  /** What all keys begin with. */
  readonly prefix: string
  /** Seconds that a tenant is believed after the store was asked for it. */
  readonly ttlSeconds: number
  /** Called once for each time that Redis goes away or comes back; `code` says why, and nothing secret. */
  readonly onChange?: (state: 'on' | 'off', code?: string) => void
}

/** Longest wait for Redis. A request waits for it three times in a row at most, then the circuit is open. */
const PATIENCE_MS = 250
/** How long a floor is kept at least, and a key that holds nothing but a lease. */
const FLOOR_MS = 300_000
const LEASE_MS = 60_000
/** Beyond this many untold writes, all of L2 is dropped instead. */
const MOST_UNTOLD = 10_000
const BATCH = 200
/** Redis counts ages in whole milliseconds, at both ends. */
const PRECISION_MS = 2
/** No age is below it. */
const NONE = -1

const states: Readonly<Record<CircuitState, 'off' | 'probing' | 'on'>> = {
  open: 'off',
  'half-open': 'probing',
  closed: 'on',
}

/**
 * L2 in Redis, see {@link SharedTenantCache}. While Redis does not do its work nothing is read; what this process could not
 * tell it is told before the first read after. What others could not tell may still be there then, so after each gap
 * nothing is believed that was in Redis before: `trusted` is the moment from which this process has been listening.
 *
 * Each incarnation of the registry has keys of its own: a version of another one, as the floor of a key, would keep out what is true.
 */
export function createRedisTenantCache(options: RedisTenantCacheOptions): SharedTenantCache {
  const { prefix, ttlSeconds } = options
  const ttlMs = ttlSeconds * 1000
  let incarnation = ''
  /** What the keys of the incarnation have before the id. */
  let era = ''
  const tenantKey = (id: string) => `${prefix}:tenant:${era}${id}`
  const identifierKey = (identifier: string) => `${prefix}:identifier:${identifier}`
  /** What Redis must be told, by id: the version, or 0 for whatever is held. */
  const untold = new Map<string, number>()
  let mustClear = false
  let opened: { readonly client: RedisClient; readonly codec: TenantCodec } | undefined
  let opening: Promise<void> | undefined
  let closed = false
  let trusted = Number.POSITIVE_INFINITY
  /** Why there is no connection. */
  let lost: unknown = new Unavailable('NOT_CONNECTED')
  let hits = 0
  let misses = 0

  const circuit = createCircuit({
    probe,
    mayClose: () => untold.size === 0 && !mustClear,
    onChange(state, cause) {
      trusted = state === 'closed' ? performance.now() : Number.POSITIVE_INFINITY
      options.onChange?.(state === 'closed' ? 'on' : 'off', state === 'closed' ? undefined : codeOf(cause))
    },
  })

  const clientNow = (): RedisClient => {
    if (opened === undefined || closed) throw new Unavailable('NOT_CONNECTED')
    return opened.client
  }
  const send = (command: string, ...parameters: readonly (string | number)[]) =>
    inTime(() => clientNow().call(command, ...parameters))
  const run = (script: RedisScript, id: string, ...parameters: readonly (string | number)[]) =>
    inTime(() => script(clientNow(), tenantKey(id), ...parameters))

  /** Does with a key of its own all that is done with tenants, then tells what is untold. */
  async function probe(): Promise<void> {
    if (clientNow().status !== 'ready') throw lost
    await run(tellScript, 'probe', 0, FLOOR_MS)
    await run(readScript, 'probe', NONE, newToken(), LEASE_MS)
    if (mustClear) await dropAll()
    for (const batch of inBatches([...untold])) {
      await Promise.all(
        batch.map(async ([id, version]) => {
          await run(tellScript, id, version, Math.max(ttlMs, FLOOR_MS))
          if (untold.get(id) === version) untold.delete(id)
        }),
      )
    }
  }

  function owe(id: string, version: number): void {
    const known = untold.get(id)
    // Whatever is held goes with 0, and so does all that is older than some version.
    untold.set(id, known === undefined ? version : known === 0 || version === 0 ? 0 : Math.max(known, version))
    if (untold.size > MOST_UNTOLD) {
      untold.clear()
      mustClear = true
    }
  }

  async function dropAll(): Promise<void> {
    const client = clientNow()
    untold.clear()
    for (const node of client.nodes?.('master') ?? [client]) {
      for (const kind of ['tenant', 'identifier']) {
        let cursor = '0'
        do {
          const match = ['match', `${prefix}:${kind}:*`, 'count', BATCH] as const
          const [next, keys] = (await inTime(() => node.call('scan', cursor, ...match))) as [string, string[]]
          await Promise.all(keys.map((key) => inTime(() => node.call('unlink', key))))
          cursor = next
        } while (cursor !== '0')
      }
    }
    mustClear = false
  }

  async function open(): Promise<void> {
    const [client, codec] = await Promise.all([options.client(), options.codec()])
    if (closed) return client.disconnect()
    opened = { client, codec }
    client.on('error', (error) => (lost = error))
    client.on('close', () => circuit.open(lost))
    client.on('ready', () => {
      lost = new Unavailable('CONNECTION_LOST')
      circuit.retry()
    })
    circuit.start()
    client.connect().catch(() => {})
  }

  async function read(id: string, maxAgeMs: number): Promise<SharedRead> {
    const begun = performance.now()
    if (circuit.state !== 'closed' || mustClear) return {}
    const oldest = Math.floor(Math.min(maxAgeMs, ttlMs, begun - trusted))
    const answer = await circuit.run(() => run(readScript, id, oldest, newToken(), LEASE_MS))
    const [kind, text, age] = Array.isArray(answer) ? (answer as unknown[]) : []
    if (kind === 'held') {
      const tenant = typeof text === 'string' ? opened?.codec.decode(text, id, incarnation) : undefined
      if (tenant !== undefined && typeof age === 'number') {
        hits++
        if (events.hit.hasSubscribers) events.hit.publish({ tier: 'l2', id })
        return { tenant, asOf: begun - age - PRECISION_MS }
      }
      // What cannot be read stands in the way of what could.
      await tell(id)
    }
    misses++
    if (events.miss.hasSubscribers) events.miss.publish({ tier: 'l2', id })
    return kind === 'lease' && typeof text === 'string' ? { lease: { token: text, begun } } : {}
  }

  async function tell(id: string, version = 0): Promise<void> {
    if (events.invalidation.hasSubscribers) events.invalidation.publish({ tier: 'l2', id })
    if (circuit.state !== 'closed') return owe(id, version)
    const told = incarnation
    try {
      await run(tellScript, id, version, Math.max(ttlMs, FLOOR_MS))
    } catch (error) {
      if (told === incarnation) owe(id, version)
      circuit.open(error)
    }
  }

  return Object.freeze({
    belongTo(name: string) {
      if (name === incarnation) return
      incarnation = name
      era = `${createHash('sha256').update(name).digest('base64url').slice(0, 16)}:`
      // Versions of the other one.
      untold.clear()
    },
    open: () =>
      (opening ??= open().catch((error: unknown) => {
        opening = undefined
        throw error
      })),
    read,
    tell,
    async idOf(identifier: string) {
      const key = identifierKey(identifier)
      const id = await circuit.run(() =>
        send('get', key).catch((error: unknown) =>
          codeOf(error) === 'WRONGTYPE' ? send('unlink', key) : raise(error),
        ),
      )
      return typeof id === 'string' ? id : undefined
    },
    async fill(tenant: Tenant, { token, begun }: Lease) {
      const text = opened?.codec.encode(tenant, incarnation)
      if (text === undefined) return
      await circuit.run(() => {
        const age = Math.ceil(performance.now() - begun)
        return run(fillScript, tenant.id, token, tenant.version, text, age, Math.max(ttlMs, FLOOR_MS))
      })
    },
    async point(identifier: string, id: string) {
      await circuit.run(() =>
        send('set', identifierKey(identifier), id, 'px', Math.max(ttlMs, FLOOR_MS)).catch((error: unknown) =>
          codeOf(error) === 'OOM' ? undefined : raise(error),
        ),
      )
    },
    async clear() {
      mustClear = true
      if (circuit.state !== 'closed') return
      await dropAll().catch((error: unknown) => circuit.open(error))
    },
    stats: () => ({ state: states[circuit.state], hits, misses, untold: untold.size }),
    async close() {
      closed = true
      circuit.stop()
      opened?.client.disconnect()
    },
  })
}

function newToken(): string {
  return randomBytes(12).toString('base64url')
}

function raise(error: unknown): never {
  throw error
}

/** Never leaves this file: `circuit` keeps it. */
class Unavailable extends Error {
  readonly code: string
  constructor(code: string) {
    super(code)
    this.code = code
  }
}

async function inTime<T>(work: () => Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_resolve, reject) => {
    // What has arrived while this process was busy is read before the immediate.
    timer = setTimeout(() => setImmediate(() => reject(new Unavailable('TOO_SLOW'))), PATIENCE_MS)
  })
  try {
    return await Promise.race([work(), late])
  } finally {
    clearTimeout(timer)
  }
}

function inBatches<T>(items: readonly T[]): T[][] {
  return Array.from({ length: Math.ceil(items.length / BATCH) }, (_, at) => items.slice(at * BATCH, (at + 1) * BATCH))
}

/** What kind of failure it was. The message itself may show what was sent. */
function codeOf(cause: unknown): string {
  if (!(cause instanceof Error)) return 'UNKNOWN'
  const { code } = cause as { readonly code?: unknown }
  if (typeof code === 'string') return code
  if (cause.message === 'Command timed out') return 'TOO_SLOW'
  return /^[A-Z]{2,}(?= )/.exec(cause.message)?.[0] ?? 'UNKNOWN'
}
