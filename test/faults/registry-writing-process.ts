import { setTimeout as sleep } from 'node:timers/promises'
import { drizzle } from 'drizzle-orm/libsql'
import { sqliteTable, text } from 'drizzle-orm/sqlite-core'
import Fastify from 'fastify'
import tenancy from '../../src/index.ts'
import { codeOf } from '../attack/operation.ts'

/*
 * Writes the registry of tenants for so many milliseconds, four calls at a time, then is idle for a while. Prints how many found the registry
 * unavailable, and how many suspensions did afterwards.
 */
const [databaseUrl = '', milliseconds = '0'] = process.argv.slice(2)
const UNAVAILABLE = 'TENANCY_ERR_STORE_UNAVAILABLE'
const app = Fastify({ pluginTimeout: 60_000 })
await app.register(tenancy, {
  databaseUrl,
  isolationStrategy: 'prefix',
  schema: { items: sqliteTable('items', { name: text('name') }) },
  databasePoolTimeout: 5,
  drizzle: (client) => drizzle({ client }),
})
await app.ready()
const end = Date.now() + Number(milliseconds)
let unavailable = 0

async function work(): Promise<void> {
  for (let n = 0; Date.now() < end; n++) {
    const identifier = `tenant-${Math.floor(Math.random() * 12)}`
    const kind = Math.random()
    const call =
      kind < 0.25
        ? app.tenancy.ensure({ identifier })
        : kind < 0.7
          ? app.tenancy.update(identifier, { name: `name ${n}` })
          : app.tenancy.get(identifier)
    // Others have not made it yet, or write it at this moment.
    await call.catch((error: unknown) => (unavailable += codeOf(error) === UNAVAILABLE ? 1 : 0))
  }
}

await Promise.all([work(), work(), work(), work()])
await sleep(2000)
const outcomes = await app.tenancy.suspendMany(['tenant-1', 'tenant-2', 'tenant-3'])
console.log(unavailable, outcomes.filter(({ error }) => codeOf(error) === UNAVAILABLE).length)
// Alive and idle while the other one suspends.
await sleep(3000)
process.exit()
