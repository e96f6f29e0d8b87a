import { AsyncLocalStorage } from 'node:async_hooks'
import { eq } from 'drizzle-orm'
import { drizzle, type NodePgDatabase } from 'drizzle-orm/node-postgres'
import Fastify, { type FastifyInstance } from 'fastify'
import { Pool } from 'pg'
import { serve } from './child.ts'
import { notes, notesIn } from './notes.ts'
import { getTenantDb, tenancy } from './product.ts'

/** What a server process serves. */
export interface ServerOptions {
  /** One port for each. */
  readonly apps: readonly (keyof typeof apps)[]
  readonly databaseUrl: string
  readonly adminDatabaseUrl: string
  /** The namespace of every tenant by its identifier, for the app without tenancy. */
  readonly namespaces: Readonly<Record<string, string>>
  readonly poolSize: number
}

/** What the tenants' header holds when the app reads it by itself. */
const HEADER = 'x-tenant-id'

/** Turns the parameter into a number. */
const noteSchema = { schema: { params: { type: 'object', properties: { id: { type: 'integer' } } } } }

/** Every app has the same two routes; their answers are equal, byte for byte. */
const apps = { bare, als, tenant }

serve(async (received) => {
  const options = received as ServerOptions
  const ports: number[] = []
  for (const name of options.apps) {
    const app = Fastify()
    await apps[name](app, options)
    ports.push(Number(new URL(await app.listen({ host: '127.0.0.1', port: 0 })).port))
  }
  return ports
})

/** Without tenancy: a plain pool, the tenant's table by its full name. */
async function bare(app: FastifyInstance, { databaseUrl, namespaces, poolSize }: ServerOptions): Promise<void> {
  const pool = new Pool({ connectionString: databaseUrl, max: poolSize, min: poolSize })
  const database = drizzle({ client: pool })
  const tables = new Map(Object.entries(namespaces).map(([identifier, namespace]) => [identifier, notesIn(namespace)]))

  app.get('/hello', async (request) => ({ hello: request.headers[HEADER] }))
  app.get<{ Params: { id: number } }>('/notes/:id', noteSchema, async ({ headers, params }) => {
    const table = tables.get(headers[HEADER] as string)
    if (table === undefined) return undefined
    const [note] = await database.select().from(table).where(eq(table.id, params.id))
    return note
  })
}

/** The least that any tenancy on AsyncLocalStorage costs: entering it. */
async function als(app: FastifyInstance): Promise<void> {
  const storage = new AsyncLocalStorage<object>()
  app.addHook('onRequest', (request, _reply, done) => {
    storage.run({ tenant: request.headers[HEADER] }, done)
  })
  app.get('/hello', async (request) => ({ hello: request.headers[HEADER] }))
}

/** The product, as a user writes it. */
async function tenant(app: FastifyInstance, { databaseUrl, adminDatabaseUrl, poolSize }: ServerOptions): Promise<void> {
  await app.register(tenancy, {
    databaseUrl,
    adminDatabaseUrl,
    databasePoolSize: poolSize,
    drizzle: (client) => drizzle({ client }),
  })
  app.get('/hello', async ({ tenant }) => ({ hello: tenant?.identifier }))
  app.get<{ Params: { id: number } }>('/notes/:id', noteSchema, async ({ params }) => {
    const database = getTenantDb() as NodePgDatabase
    const [note] = await database.select().from(notes).where(eq(notes.id, params.id))
    return note
  })
}
