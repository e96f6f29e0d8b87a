/*
 * What the caches of tenants cost and hold. A warm look-up as the hook does it, against a bare lru-cache of the same size;
 * then what is counted: reads of the store for 10,000 concurrent misses of one tenant, and for 10,000 requests in turn for
 * an identifier that nobody has; then the memory that 1,000,000 made-up identifiers take.
 *
 *     npm run bench:cache -- [--quick] [--json]
 */
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { LRUCache } from 'lru-cache'
import { createTenantCache } from '../../src/cache/tenant-cache.ts'
import type { TenantStore } from '../../src/contracts/store.ts'
import { createCachedTenantStore } from '../../src/tenants/cached-store.ts'
import { createMemoryTenantStore } from '../../src/tenants/memory-store.ts'
import { newTenant } from '../conformance/store.ts'
import {
  type Bar,
  countRow,
  cpuClock,
  deadlines,
  measure,
  report,
  type Row,
  settings,
  timeRow,
  type Variant,
} from './harness.ts'
import { at } from './notes.ts'

const TENANTS = 1000
const REQUESTS = 10_000
const FLOOD = 1_000_000
const OPERATIONS = 200_000
/** What one remembered identifier may take, with its place in the map and the log: the bound is this times the entries. */
const BYTES_PER_ENTRY = 1024

const chosen = settings()
// Memory first, before others leave garbage.
const held = await flood()
report([...(await warm()), ...(await misses()), ...held], chosen)

/** A store that counts its reads by identifier; each takes a turn of the event loop. */
function counting(store: TenantStore) {
  let reads = 0
  const counted: TenantStore = {
    ...store,
    async getByIdentifier(identifier) {
      reads++
      await new Promise(setImmediate)
      return store.getByIdentifier(identifier)
    },
  }
  return { store: counted, reads: () => reads }
}

async function warm(): Promise<Row[]> {
  const cache = createTenantCache({ maxSize: TENANTS, ttlSeconds: 600 })
  const store = createCachedTenantStore({ store: createMemoryTenantStore(), cache, isFresh: () => true })
  const bare = new LRUCache<string, object>({ max: TENANTS })
  const identifiers: string[] = []
  for (let n = 0; n < TENANTS; n++) {
    const tenant = await store.insert(newTenant({ status: 'active' }))
    identifiers.push(tenant.identifier)
    bare.set(tenant.identifier, tenant)
  }
  const lookUp = (name: string, find: (identifier: string) => unknown): Variant => ({
    name,
    async run(operations) {
      for (let n = 0; n < operations; n++) {
        const identifier = at(identifiers, n % TENANTS)
        const found = find(identifier) as { readonly identifier?: string } | undefined
        if (found?.identifier !== identifier) throw new Error(`${name}: not ${identifier}`)
      }
    },
  })
  const listener = () => {}
  const listened = lookUp('with a listener', store.peek)
  const variants: Variant[] = [
    lookUp('bare lru-cache', (identifier) => bare.get(identifier)),
    lookUp('warm look-up', store.peek),
    lookUp('bare lru-cache, again', (identifier) => bare.get(identifier)),
    {
      ...listened,
      async run(operations) {
        subscribe('fastify-tenancy:cache:hit', listener)
        await listened.run(operations)
        unsubscribe('fastify-tenancy:cache:hit', listener)
      },
    },
  ]
  const [end] = deadlines({ ...chosen, endMs: chosen.quick ? 12_000 : 40_000 }, 1)
  const times = await measure(variants, OPERATIONS, at([end ?? 0], 0), cpuClock)
  const row = (name: string, bar?: Bar) => timeRow('L1', times, name, 'bare lru-cache', bar)
  return [row('warm look-up', { most: 3 }), row('bare lru-cache, again'), row('with a listener')]
}

async function misses(): Promise<Row[]> {
  const memory = createMemoryTenantStore()
  const { store, reads } = counting(memory)
  const cached = createCachedTenantStore({ store, cache: createTenantCache({ maxSize: TENANTS, ttlSeconds: 600 }) })
  await memory.insert(newTenant({ identifier: 'acme', status: 'active' }))
  const found = await Promise.all(Array.from({ length: REQUESTS }, () => cached.resolve('acme')))
  if (found.some((tenant) => tenant?.identifier !== 'acme')) throw new Error('Somebody got another tenant.')
  const concurrent = reads()
  for (let n = 0; n < REQUESTS; n++) {
    const known = cached.peek('nobody')
    if ((known === undefined ? await cached.resolve('nobody') : known) ?? false) throw new Error('Nobody was found.')
  }
  const unknown = reads() - concurrent
  return [
    countRow('reads of the store', '10,000 misses of one tenant at once', concurrent, { least: 1, most: 1 }),
    countRow('reads of the store', '10,000 requests for one unknown tenant', unknown, { least: 1, most: 1 }),
  ]
}

async function flood(): Promise<Row[]> {
  const { store } = counting(createMemoryTenantStore())
  const cache = createTenantCache({ maxSize: TENANTS, ttlSeconds: 600 })
  const cached = createCachedTenantStore({ store, cache })
  const tenant = await cached.insert(newTenant({ identifier: 'acme', status: 'active' }))
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  collect()
  const before = process.memoryUsage().heapUsed
  for (let n = 0; n < FLOOD; n += 1000) {
    await Promise.all(Array.from({ length: 1000 }, (_, i) => cached.resolve(`made-up-${n + i}`)))
  }
  collect()
  const used = (process.memoryUsage().heapUsed - before) / (TENANTS * BYTES_PER_ENTRY)
  if (cached.peek('acme') !== tenant) throw new Error('The flood pushed out a tenant.')
  return [
    countRow('heap after 1,000,000 unknown identifiers', `1 KB for each of ${TENANTS}`, Math.max(0, used), { most: 1 }),
  ]
}
