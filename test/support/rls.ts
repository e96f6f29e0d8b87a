import { randomUUID } from 'node:crypto'
import type { DatabaseServer } from '../../src/contracts/dialect.ts'
import type { Scope } from '../../src/contracts/isolation.ts'
import type { Migration } from '../../src/contracts/migrator.ts'
import { rlsStrategy } from '../../src/isolation/rls.ts'
import { migrateNamespace } from '../../src/migrations/runner.ts'
import type { TestDatabase } from '../servers/database.ts'
import { open, placedScope, sharedSchemas, testServer } from './database.ts'

/** A table as drizzle-kit writes it for tenants that share it. */
export const ITEMS =
  'create table items (tenant_id uuid not null, id int not null, owner text, primary key (tenant_id, id))'

let made = 0

/** A migration of these statements, under a name and with a time of its own: a ledger knows it by either. */
export function migrationOf(...statements: readonly string[]): Migration {
  const name = randomUUID()
  return { name, file: `${name}.sql`, hash: name, createdAt: ++made, statements }
}

/** A shared schema of its own, with two tenants. */
export interface RlsBed {
  readonly server: DatabaseServer
  readonly schema: string
  readonly shared: typeof sharedSchemas
  readonly a: Scope
  readonly b: Scope
  /** Runs the migrations of the bed and these, for `a`. */
  migrate(...more: readonly Migration[]): Promise<unknown>
  /** One statement of a tenant. */
  rows(tenant: Scope, text: string): Promise<Record<string, unknown>[]>
}

/** Makes {@link RlsBed} with `statements` run in it; the rows of its tenants carry their ids, or `keys`. */
export async function rlsBed(
  database: TestDatabase,
  statements: readonly string[],
  { keys = [], ...options }: Parameters<typeof testServer>[1] & { readonly keys?: readonly string[] } = {},
): Promise<RlsBed> {
  const schema = `rls_${randomUUID().slice(0, 8)}`
  const shared = { ...sharedSchemas, rlsSchema: schema }
  const server = testServer(database, { strategies: ['rls'], shared, ...options })
  await server.open()
  const [a, b] = [placedScope(rlsStrategy(), keys[0]), placedScope(rlsStrategy(), keys[1])]
  const first = migrationOf(...statements)
  const migrate = (...more: readonly Migration[]) =>
    migrateNamespace({ server, scope: a, migrations: [first, ...more] })
  await migrate()
  return {
    server,
    schema,
    shared,
    a,
    b,
    migrate,
    rows: queryOver(server),
  }
}

/** Runs statements as they are, each for a tenant, on either driver. */
export function queryOver(server: DatabaseServer): RlsBed['rows'] {
  return async (tenant, text) => {
    const client = server.client(tenant, open) as { query(text: string): Promise<{ rows: Record<string, unknown>[] }> }
    return (await client.query(text)).rows
  }
}

/** The code of the error that `work` ends with: of ours, or the SQLSTATE. */
export function codeOf(work: Promise<unknown>): Promise<string | undefined> {
  return work.then(
    () => undefined,
    (error: { code?: string; cause?: { code?: string } }) => error.cause?.code ?? error.code,
  )
}
