import { fileURLToPath } from 'node:url'
import { sql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/pglite'
import Fastify, { type FastifyInstance } from 'fastify'
// In your app: from 'fastify-tenancy'.
import { getTenantDb, rewriteTenantPath, tenancy } from '../../src/index.ts'
import * as schema from './schema.ts'

const { orders } = schema

declare module '../../src/index.ts' {
  interface Register {
    db: ReturnType<typeof drizzle<typeof schema>>
  }
}

/** The domain below which the demo's tenants live. */
export const DOMAIN = 'example.test'

/** The demo's server: embedded PostgreSQL in memory, three ways to name a tenant. */
export async function demoApp(): Promise<FastifyInstance> {
  // `/tenants/acme/orders` is routed as `/orders`.
  // The embedded database may take longer to start than the 10 s that Fastify gives a plugin.
  const app = Fastify({ rewriteUrl: rewriteTenantPath(), pluginTimeout: 120_000 })

  await app.register(tenancy, {
    databaseUrl: 'pglite:memory',
    resolutionStrategy: ['header', 'subdomain', 'path'],
    domainSuffix: DOMAIN,
    migrations: fileURLToPath(new URL('drizzle', import.meta.url)),
    drizzle: (client) => drizzle({ client, schema }),
  })

  // So that the demo can show it; your app need not.
  app.addHook('onSend', async (request, reply) => {
    reply.header('x-served-tenant', request.tenant?.identifier ?? '-')
  })

  app.get('/orders', () => getTenantDb().select().from(orders).orderBy(orders.id))
  app.post<{ Body: typeof orders.$inferInsert }>('/orders', async ({ body }, reply) => {
    const [order] = await getTenantDb().insert(orders).values(body).returning()
    return reply.code(201).send(order)
  })
  // Raw SQL, and whoever wrote it forgot about tenants.
  app.get('/report', async () => (await getTenantDb().execute(sql`select id, article, quantity from orders`)).rows)
  app.get('/health', { config: { tenancy: false } }, () => ({ status: 'ok' }))

  return app
}
