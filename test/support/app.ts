import { drizzle } from 'drizzle-orm/node-postgres'
import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import type pg from 'pg'
import tenancy, { type TenancyOptions } from '../../src/index.ts'
import type { TestDatabase } from '../servers/database.ts'

/** A Drizzle database without a schema, as tests use it. */
export type PlainDb = ReturnType<typeof plainDrizzle>

/** The factory that tests hand to the plugin. */
export function plainDrizzle(client: pg.Pool) {
  return drizzle({ client })
}

/** The options that make the plugin serve this database. */
export function optionsFor(database: TestDatabase, options: TenancyOptions = {}): TenancyOptions {
  return {
    databaseUrl: database.appUrl,
    adminDatabaseUrl: database.adminUrl,
    drizzle: (client) => plainDrizzle(client),
    ...options,
  }
}

/** An app with the plugin registered, not started. */
export async function tenantApp(
  database: TestDatabase,
  options: TenancyOptions = {},
  server: FastifyServerOptions = {},
): Promise<FastifyInstance> {
  const app = Fastify(server as object) as unknown as FastifyInstance
  await app.register(tenancy, optionsFor(database, options))
  return app
}

/** The header that names a tenant. */
export function as(identifier: string): { 'x-tenant-id': string } {
  return { 'x-tenant-id': identifier }
}
