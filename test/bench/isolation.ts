/*
 * What each strategy costs. First one statement, a row by its key, of 50 tenants in turn: over the product's tenant client,
 * against the same statement without tenancy (a plain pool as the same role, the table by its full name; under `rls` a
 * table without policies and an explicit WHERE). Then reads under row policies on 1,000,000 rows of 1,000 tenants, against a
 * superuser, whom policies do not bind, with an explicit WHERE. Every answer is checked.
 *
 *     npm run bench:isolation -- [--quick] [--json]
 */
import { and, asc, eq, type SQL, sql } from 'drizzle-orm'
import { drizzle, type NodePgDatabase } from 'drizzle-orm/node-postgres'
import { integer, pgSchema, pgTable, text, uuid } from 'drizzle-orm/pg-core'
import { Pool } from 'pg'
import type { Scope } from '../../src/contracts/isolation.ts'
import { layoutOf } from '../../src/dialects/postgres/layout.ts'
import { namespaceStrategy } from '../../src/isolation/namespace.ts'
import { rlsStrategy } from '../../src/isolation/rls.ts'
import { migrateNamespace } from '../../src/migrations/runner.ts'
import { adoptTables } from '../../src/sql/adopt.ts'
import type { TestDatabase } from '../servers/database.ts'
import { startPostgres } from '../servers/postgres.ts'
import { asSuperuser, baselineDatabase, open, placedScope, sharedSchemas } from '../support/database.ts'
import { type Bar, deadlines, measure, report, type Row, settings, timeRow, type Variant } from './harness.ts'
import { at } from './notes.ts'
import { createPgServer } from './product.ts'

const TENANTS = 50
const ROWS_EACH = 1000
/** Of the reads: 1,000 tenants with 1,000 rows each. */
const MANY_TENANTS = 1000

const columns = () => ({ tenantId: uuid('tenant_id'), id: integer('id').notNull(), body: text('body').notNull() })
const notes = pgTable('notes', columns())
const marks = pgTable('marks', {
  tenantId: uuid('tenant_id'),
  id: integer('id').notNull(),
  noteId: integer('note_id').notNull(),
})
const statements = [
  'CREATE TABLE "notes" ("tenant_id" uuid, "id" integer NOT NULL, "body" text NOT NULL)',
  'CREATE UNIQUE INDEX "notes_key" ON "notes" USING btree ("tenant_id", "id")',
  'CREATE TABLE "marks" ("tenant_id" uuid, "id" integer NOT NULL, "note_id" integer NOT NULL)',
  'CREATE UNIQUE INDEX "marks_key" ON "marks" USING btree ("tenant_id", "id")',
]
const migrations = [{ name: 'm', file: 'm.sql', hash: 'm', createdAt: 1, statements }]
const strategies = [namespaceStrategy('schema'), rlsStrategy(), namespaceStrategy('prefix')]

const chosen = settings()
const postgres = await startPostgres({ version: 18 })
try {
  const database = await baselineDatabase(postgres.url)
  adoptTables({ notes, marks })
  const ends = deadlines(chosen, strategies.length + 4)
  const rows: Row[] = []
  for (const [i, strategy] of strategies.entries()) rows.push(...(await oneStatement(database, strategy, at(ends, i))))
  rows.push(...(await reads(database, ends.slice(strategies.length))))
  report(rows, chosen)
} finally {
  await postgres.stop()
}

async function openServer(database: TestDatabase) {
  const server = createPgServer({
    url: database.appUrl,
    adminUrl: database.adminUrl,
    pooled: false,
    strategies: ['schema', 'rls', 'prefix'],
    poolSize: 10,
    maxOverflow: 0,
    poolTimeout: 10,
    poolRecycle: 3600,
    registrySchema: 'tenancy',
    shared: sharedSchemas,
    onStatement: undefined,
  })
  await server.open()
  return server
}

async function oneStatement(
  database: TestDatabase,
  strategy: (typeof strategies)[number],
  deadline: number,
): Promise<Row[]> {
  const server = await openServer(database)
  const scopes: Scope[] = []
  for (let i = 0; i < TENANTS; i++) {
    const scope = placedScope(strategy)
    await migrateNamespace({ server, scope, migrations })
    scopes.push(scope)
  }
  const tableOf = (scope: Scope) => {
    const { schema, naming } = layoutOf(scope, sharedSchemas)
    return { schema, name: `${naming.prefix}notes` }
  }
  const byRows = strategy.name === 'rls'
  await asSuperuser(database, async (client) => {
    for (const scope of scopes) {
      const { schema, name } = tableOf(scope)
      await client.query(
        `insert into "${schema}"."${name}" select '${scope.tenantId}', n, '${scope.tenantId}' from generate_series(1, ${ROWS_EACH}) n`,
      )
    }
    if (byRows) {
      await client.query(`create schema bare; create table bare.notes as select * from rls.notes; create unique index on bare.notes (tenant_id, id);
        grant usage on schema bare to "${database.appRole}"; grant select on bare.notes to "${database.appRole}"; analyze bare.notes`)
    }
    await client.query('analyze')
  })
  const pool = new Pool({ connectionString: database.appUrl, max: 10, min: 10 })
  const plain = drizzle({ client: pool })
  const scoped = scopes.map((scope) => drizzle({ client: server.client(scope, open) as never }))
  const full = scopes.map((scope) => {
    const { schema, name } = byRows ? { schema: 'bare', name: 'notes' } : tableOf(scope)
    return pgSchema(schema).table(name, columns())
  })
  const variant = (name: string, read: (tenant: number, id: number) => Promise<{ body: string }[]>): Variant => {
    let turn = 0
    return {
      name,
      async run(operations) {
        for (let i = 0; i < operations; i++) {
          const tenant = turn++ % TENANTS
          const [row, ...more] = await read(tenant, 1 + ((turn * 7919) % ROWS_EACH))
          if (row?.body !== at(scopes, tenant).tenantId || more.length > 0) throw new Error(`${name}: a wrong answer`)
        }
      },
    }
  }
  const floor = (tenant: number, id: number) => {
    const table = at(full, tenant)
    const own = byRows ? and(eq(table.tenantId, at(scopes, tenant).tenantId), eq(table.id, id)) : eq(table.id, id)
    return plain.select().from(table).where(own)
  }
  const variants = [
    variant('no tenancy', floor),
    variant('scoped', (tenant, id) => at(scoped, tenant).select().from(notes).where(eq(notes.id, id))),
    variant('no tenancy, again', floor),
  ]
  try {
    const times = await measure(variants, 100, deadline)
    return [
      timeRow(strategy.name, times, 'scoped', 'no tenancy', { most: 1.15 }),
      timeRow(strategy.name, times, 'no tenancy, again', 'no tenancy'),
    ]
  } finally {
    await pool.end()
    await server.close()
  }
}

async function reads(database: TestDatabase, ends: readonly number[]): Promise<Row[]> {
  const server = await openServer(database)
  const tenants = Array.from(
    { length: MANY_TENANTS },
    (_, i) => `00000000-0000-4000-8000-${String(i).padStart(12, '0')}`,
  )
  await asSuperuser(database, (client) =>
    client.query(`truncate rls.notes; truncate rls.marks;
      insert into rls.notes select ('00000000-0000-4000-8000-' || lpad(t::text, 12, '0'))::uuid, n, 'note' from generate_series(0, ${MANY_TENANTS - 1}) t, generate_series(1, ${ROWS_EACH}) n;
      insert into rls.marks select tenant_id, id, id from rls.notes where id <= 100;
      analyze rls.notes; analyze rls.marks`),
  )
  await asSuperuser(database, (client) => client.query('vacuum rls.notes, rls.marks'))
  const pool = new Pool({ connectionString: database.superUrl, max: 2, min: 2 })
  const plain = drizzle({ client: pool })
  const scopeOf = (tenantId: string): Scope => ({
    ...placedScope(rlsStrategy()),
    tenantId,
    settings: { 'app.current_tenant': tenantId },
  })
  const scoped = tenants.map((tenant) => drizzle({ client: server.client(scopeOf(tenant), open) as never }))
  const [bareNotes, bareMarks] = [
    pgSchema('rls').table('notes', columns()),
    pgSchema('rls').table('marks', {
      tenantId: uuid('tenant_id'),
      id: integer('id').notNull(),
      noteId: integer('note_id').notNull(),
    }),
  ]

  /** One kind of read, over either pair of tables. */
  type Read = (
    db: NodePgDatabase,
    n: typeof notes,
    m: typeof marks,
    own: (table: typeof notes | typeof marks) => SQL | undefined,
  ) => Promise<number>
  const kinds: Record<string, { read: Read; rows: number; bar: Bar }> = {
    'by key': {
      read: async (db, n, _m, own) =>
        (
          await db
            .select()
            .from(n)
            .where(and(own(n), eq(n.id, 500)))
        ).length,
      rows: 1,
      bar: { most: 1.9 },
    },
    page: {
      read: async (db, n, _m, own) => (await db.select().from(n).where(own(n)).orderBy(asc(n.id)).limit(20)).length,
      rows: 20,
      bar: { most: 1.3 },
    },
    count: {
      read: async (db, n, _m, own) =>
        (await db.select({ n: sql<number>`count(*)::int` }).from(n).where(own(n)))[0]?.n ?? 0,
      rows: ROWS_EACH,
      bar: { most: 1.3 },
    },
    join: {
      read: async (db, n, m, own) =>
        (
          await db
            .select()
            .from(m)
            .innerJoin(n, eq(m.noteId, n.id))
            .where(and(own(m), own(n)))
        ).length,
      rows: 100,
      bar: { most: 2 },
    },
  }
  const rows: Row[] = []
  try {
    for (const [i, [kind, { read, rows: expected, bar }]] of Object.entries(kinds).entries()) {
      const variant = (name: string, ask: (tenant: number) => Promise<number>): Variant => {
        let turn = 0
        return {
          name,
          async run(operations) {
            for (let k = 0; k < operations; k++) {
              const found = await ask(turn++ % 50)
              if (found !== expected) throw new Error(`${kind}, ${name}: ${found} rows`)
            }
          },
        }
      }
      const floor = (tenant: number) =>
        read(plain, bareNotes as never, bareMarks as never, (table) => eq(table.tenantId, at(tenants, tenant)))
      const variants = [
        variant('explicit WHERE', floor),
        variant('policies', (tenant) => read(at(scoped, tenant), notes, marks, () => undefined)),
        variant('explicit WHERE, again', floor),
      ]
      const times = await measure(variants, 40, at(ends, i))
      rows.push(timeRow(`rls, ${kind}`, times, 'policies', 'explicit WHERE', bar))
      rows.push(timeRow(`rls, ${kind}`, times, 'explicit WHERE, again', 'explicit WHERE'))
    }
    return rows
  } finally {
    await pool.end()
    await server.close()
  }
}
