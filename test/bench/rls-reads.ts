import { and, asc, eq, type SQL, sql } from 'drizzle-orm'
import { drizzle, type NodePgDatabase } from 'drizzle-orm/node-postgres'
import { Pool } from 'pg'
import type { Scope } from '../../src/contracts/isolation.ts'
import { rlsStrategy } from '../../src/isolation/rls.ts'
import { asSuperuser, open, placedScope } from '../support/database.ts'
import type { DatabaseHost } from '../support/tenant-databases.ts'
import { type Bar, measure, type Row, timeRow, type Variant } from './harness.ts'
import { marks, notes, pgServer, tablesIn } from './isolation-postgres.ts'
import { at, ROWS } from './notes.ts'

/** Tenants that are asked; each has 1,000 rows. */
const ASKED = 50
const MARKS_EACH = 100

interface Query extends PromiseLike<readonly object[]> {
  toSQL(): { readonly sql: string; readonly params: unknown[] }
}

/** One kind of read, over either pair of tables. */
interface Kind {
  readonly query: (
    db: NodePgDatabase,
    tables: { readonly notes: typeof notes; readonly marks: typeof marks },
    own: (table: typeof notes | typeof marks) => SQL | undefined,
  ) => Query
  /** Rows of the answer, or what its one row counts. */
  readonly expected: number
  /** Tables whose index must be used. */
  readonly tables: number
  readonly bar: Bar
}

/** The kinds of reads. */
export const kinds: Readonly<Record<string, Kind>> = {
  'by key': {
    query: (db, { notes: n }, own) =>
      db
        .select()
        .from(n)
        .where(and(own(n), eq(n.id, 500))),
    expected: 1,
    tables: 1,
    bar: { most: 1.9 },
  },
  page: {
    query: (db, { notes: n }, own) => db.select().from(n).where(own(n)).orderBy(asc(n.id)).limit(20),
    expected: 20,
    tables: 1,
    bar: { most: 1.3 },
  },
  count: {
    query: (db, { notes: n }, own) => db.select({ n: sql<number>`count(*)::int` }).from(n).where(own(n)),
    expected: ROWS,
    tables: 1,
    bar: { most: 1.3 },
  },
  join: {
    query: (db, { notes: n, marks: m }, own) =>
      db
        .select()
        .from(m)
        .innerJoin(n, eq(m.noteId, n.id))
        .where(and(own(m), own(n))),
    expected: MARKS_EACH,
    tables: 2,
    bar: { most: 2 },
  },
}

const tenantId = (tenant: number) => `00000000-0000-4000-8000-${String(tenant).padStart(12, '0')}`

/** Fills the shared tables with the rows of that many tenants. */
export async function fillShared(host: DatabaseHost, tenants: number): Promise<void> {
  const of = `('00000000-0000-4000-8000-' || lpad(t::text, 12, '0'))::uuid`
  await asSuperuser(host, async (client) => {
    await client.query(`truncate rls.notes; truncate rls.marks; drop index rls.notes_key; drop index rls.marks_key;
      insert into rls.notes select ${of}, n, 'note' from generate_series(0, ${tenants - 1}) t, generate_series(1, ${ROWS}) n;
      insert into rls.marks select tenant_id, id, id from rls.notes where id <= ${MARKS_EACH};
      create unique index notes_key on rls.notes (tenant_id, id); create unique index marks_key on rls.marks (tenant_id, id)`)
    await client.query('vacuum analyze rls.notes, rls.marks')
  })
}

/** Each kind of read under row policies, against a superuser, whom they do not bind, with an explicit WHERE. */
export async function measureReads(host: DatabaseHost, ends: readonly number[]): Promise<Row[]> {
  const server = await pgServer(host)
  const pool = new Pool({ connectionString: host.superUrl, max: 2, min: 2 })
  const plain = drizzle({ client: pool })
  const scopeOf = (tenant: number): Scope => ({
    ...placedScope(rlsStrategy()),
    tenantId: tenantId(tenant),
    settings: { 'app.current_tenant': tenantId(tenant) },
  })
  const clients = Array.from({ length: ASKED }, (_, i) => server.client(scopeOf(i), open))
  const scoped = clients.map((client) => drizzle({ client: client as never }))
  const bare = tablesIn('rls') as unknown as Parameters<Kind['query']>[1]
  const rows: Row[] = []
  try {
    for (const [i, [name, kind]] of Object.entries(kinds).entries()) {
      const policies = (tenant: number) => kind.query(at(scoped, tenant), { notes, marks }, () => undefined)
      const where = (tenant: number) => kind.query(plain, bare, (table) => eq(table.tenantId, tenantId(tenant)))
      await assertIndexed(name, kind, at(clients, 0) as Pool, policies(0))
      const variants = [
        variant(name, kind, 'explicit WHERE', where),
        variant(name, kind, 'policies', policies),
        variant(name, kind, 'explicit WHERE, again', where),
      ]
      const times = await measure(variants, 5, at(ends, i))
      rows.push(timeRow(`rls, ${name}`, times, 'policies', 'explicit WHERE', kind.bar))
      rows.push(timeRow(`rls, ${name}`, times, 'explicit WHERE, again', 'explicit WHERE'))
    }
    return rows
  } finally {
    await pool.end()
    await server.close()
  }
}

function variant(kind: string, { expected }: Kind, name: string, ask: (tenant: number) => Query): Variant {
  let turn = 0
  return {
    name,
    async run(operations) {
      for (let i = 0; i < operations; i++) {
        const rows = await ask(turn++ % ASKED)
        const [first] = rows as readonly { readonly n?: number }[]
        const found = first?.n ?? rows.length
        if (found !== expected) throw new Error(`${kind}, ${name}: ${found} rows`)
      }
    },
  }
}

/** Fast by luck is not enough: every table must be found by the tenant, as its policy has it. */
async function assertIndexed(name: string, { tables }: Kind, client: Pool, query: Query): Promise<void> {
  const { sql: text, params } = query.toSQL()
  const { rows } = await client.query<{ 'QUERY PLAN': string }>(`explain ${text}`, params)
  const plan = rows.map((row) => row['QUERY PLAN']).join('\n')
  const found = plan.match(/Index Cond: .*tenant_id = /g)?.length ?? 0
  if (found < tables || plan.includes('Seq Scan')) {
    throw new Error(`rls, ${name}: the plan does not use the tenant's index.\n${plan}`)
  }
}
