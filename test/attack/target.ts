import { Pool } from 'pg'
import type { DatabaseServer } from '../../src/contracts/dialect.ts'
import type { Scope } from '../../src/contracts/isolation.ts'
import { asSuperuser, newScope, open, testServer } from '../support/database.ts'
import type { TestDatabase } from '../servers/database.ts'
import { sharedRoutines, tenantDdl } from './schema.ts'

/** A tenant of the attack. */
export interface Attacked {
  /** In every row of this tenant and of no other. */
  readonly marker: string
  readonly scope: Scope
}

/** What is attacked: gives every tenant a client over one shared pool. */
export interface Target {
  /** Driver-shaped: what Drizzle takes for a `Pool`. */
  clientOf(tenant: Attacked): object
  /** The shared pool itself, to look at what a connection is left with. */
  readonly pool: Pool
  close(): Promise<void>
}

/** Provisions tenants the way the product does, and the routines that they share. */
export async function provisionTenants(database: TestDatabase, count: number): Promise<Attacked[]> {
  const server = testServer(database, { poolSize: 1 })
  await server.open()
  const tenants: Attacked[] = []
  for (let i = 0; i < count; i++) {
    const marker = `m${String(i).padStart(2, '0')}`
    const scope = newScope()
    await server.inNamespace(scope, async (session) => {
      await session.ensure()
      for (const statement of tenantDdl(marker)) await session.run(statement)
    })
    tenants.push({ marker, scope })
  }
  await server.close()
  await asSuperuser(database, (client) => client.query(sharedRoutines))
  return tenants
}

/** The product's own scoping. `url` may lead through a pooler. */
export async function scopedTarget(database: TestDatabase, url: string, poolSize: number): Promise<Target> {
  const server = testServer(database, { url, poolSize })
  const pool = await sharedPoolOf(server, url)
  return { clientOf: ({ scope }) => server.client(scope, open), pool, close: () => server.close() }
}

/** Opens the server and watches which pool it takes its serving connection from. Nothing else gives it away. */
async function sharedPoolOf(server: DatabaseServer, url: string): Promise<Pool> {
  const seen = new Set<Pool>()
  const prototype = Pool.prototype as { connect: (this: Pool, ...parameters: unknown[]) => unknown }
  const { connect } = prototype
  prototype.connect = function watched(this: Pool, ...parameters: unknown[]) {
    seen.add(this)
    return connect.apply(this, parameters)
  }
  try {
    await server.open()
  } finally {
    prototype.connect = connect
  }
  const pool = [...seen].find(({ options }) => options.connectionString === url)
  if (pool === undefined) throw new Error('The server opened no serving connection.')
  return pool
}

/** A bare pool, for scopings that are built by hand. */
export function barePool(url: string, poolSize: number): Pool {
  const pool = new Pool({ connectionString: url, max: poolSize, connectionTimeoutMillis: 10_000 })
  pool.on('error', () => {})
  pool.on('connect', (client) => client.on('error', () => {}))
  return pool
}
