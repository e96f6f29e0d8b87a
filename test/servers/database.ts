import { randomBytes } from 'node:crypto'
import { Client } from 'pg'

export interface TestDatabase {
  readonly database: string
  /** LOGIN, owns the database, nothing more: for DDL. */
  readonly ownerRole: string
  /** LOGIN, nothing more: no superuser, no BYPASSRLS. */
  readonly appRole: string
  /** The database as `ownerRole`. */
  readonly adminUrl: string
  /** The database as `appRole`. */
  readonly appUrl: string
  /** The database as the superuser. */
  readonly superUrl: string
  /** Ends all connections, drops the database and both roles. May be called twice. */
  readonly drop: () => Promise<void>
}

/** Creates an empty database and two roles on a server, given as its superuser's URL. Grants nothing. */
export async function createTestDatabase(serverUrl: string): Promise<TestDatabase> {
  const suffix = randomBytes(6).toString('hex')
  const database = `test_${suffix}`
  const ownerRole = `owner_${suffix}`
  const appRole = `app_${suffix}`
  await execute(serverUrl, [
    `CREATE ROLE ${ownerRole} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS`,
    `CREATE ROLE ${appRole} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS`,
    `CREATE DATABASE ${database} OWNER ${ownerRole}`,
  ])
  return {
    database,
    ownerRole,
    appRole,
    adminUrl: withParts(serverUrl, { role: ownerRole, database }),
    appUrl: withParts(serverUrl, { role: appRole, database }),
    superUrl: withParts(serverUrl, { database }),
    drop: () =>
      execute(serverUrl, [
        // First, so that a pool does not come back between the next two statements.
        `UPDATE pg_database SET datallowconn = false WHERE datname = '${database}'`,
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '${database}'`,
        `DROP DATABASE IF EXISTS ${database} WITH (FORCE)`,
        // Roles of tenants, which the owner made for the app.
        `DO $$ DECLARE name text; BEGIN
           FOR name IN SELECT r.rolname FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid WHERE m.member = to_regrole('${appRole}') LOOP
             EXECUTE format('DROP ROLE %I', name);
           END LOOP; END $$`,
        `DROP ROLE IF EXISTS ${ownerRole}, ${appRole}`,
      ]),
  }
}

/** The same database by another way: `withPort(database.appUrl, servers.pgbouncer18.port)`, or a proxy's port. */
export function withPort(url: string, port: number): string {
  return withParts(url, { port })
}

function withParts(url: string, parts: { role?: string; database?: string; port?: number }): string {
  const changed = new URL(url)
  if (parts.role !== undefined) changed.username = parts.role
  if (parts.database !== undefined) changed.pathname = `/${parts.database}`
  if (parts.port !== undefined) changed.port = String(parts.port)
  return changed.href
}

async function execute(url: string, statements: readonly string[]): Promise<void> {
  const client = new Client({ connectionString: url })
  await client.connect()
  try {
    for (const statement of statements) await client.query(statement)
  } finally {
    await client.end()
  }
}
