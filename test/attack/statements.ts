import { eq, gte, sql } from 'drizzle-orm'
import type { Attempt, Operation } from './operation.ts'
import { items, parts, SEEDED } from './schema.ts'

const ownersOf = (rows: readonly unknown[]) => rows.map((row) => (row as { owner: unknown }).owner)

/** Single statements, each on whatever connection comes. */
export const statements: readonly Operation[] = [
  {
    name: 'select',
    weight: 10,
    run: async ({ db, saw }) => saw(ownersOf(await db.select().from(items).limit(20)), SEEDED),
  },
  {
    name: 'select by an id that everybody has',
    weight: 6,
    run: async ({ db, random, saw }) =>
      saw(
        ownersOf(
          await db
            .select()
            .from(items)
            .where(eq(items.id, 1 + random.below(SEEDED))),
        ),
        1,
      ),
  },
  {
    name: 'many rows',
    weight: 3,
    run: async ({ db, saw }) => {
      const { rows } = await db.execute(sql`select owner from items, generate_series(1, 60) where id <= ${SEEDED}`)
      saw(ownersOf(rows), SEEDED * 60)
    },
  },
  {
    name: 'insert returning',
    weight: 8,
    run: async ({ db, tenant, newRef, ledger, saw }) => {
      const ref = newRef()
      const rows = await db.insert(items).values({ owner: tenant.marker, ref }).returning()
      ledger.committed(ref)
      saw(ownersOf(rows), 1)
    },
  },
  {
    name: 'insert that leaves the owner to the table',
    weight: 4,
    run: async ({ db, newRef, ledger, saw }) => {
      const ref = newRef()
      const { rows } = await db.execute(sql`insert into items (ref) values (${ref}) returning owner`)
      ledger.committed(ref)
      saw(ownersOf(rows), 1)
    },
  },
  {
    name: 'upsert',
    weight: 3,
    run: async ({ db, tenant, random, saw }) => {
      const ref = `${tenant.marker}-seed-${1 + random.below(SEEDED)}`
      const target = { target: items.ref, set: { n: sql`${items.n} + 1` } }
      saw(
        ownersOf(await db.insert(items).values({ owner: tenant.marker, ref }).onConflictDoUpdate(target).returning()),
        1,
      )
    },
  },
  {
    name: 'update returning',
    weight: 5,
    run: async ({ db, ledger, random, saw }) => {
      const claim = ledger.claim()
      if (claim === undefined) return
      const n = 1 + random.below(1000)
      const rows = await db.update(items).set({ n }).where(eq(items.ref, claim.ref)).returning()
      claim.updated(n)
      saw(ownersOf(rows), 1)
    },
  },
  {
    name: 'delete returning',
    weight: 4,
    run: async ({ db, ledger, saw }) => {
      const claim = ledger.claim()
      if (claim === undefined) return
      const rows = await db.delete(items).where(eq(items.ref, claim.ref)).returning()
      claim.deleted()
      saw(ownersOf(rows), 1)
    },
  },
  {
    name: 'join',
    weight: 4,
    run: async ({ db, saw }) => {
      const rows = await db.select().from(parts).innerJoin(items, eq(parts.itemId, items.id)).limit(10)
      saw(
        rows.flatMap((row) => [row.items.owner, row.parts.owner]),
        2,
      )
    },
  },
  {
    name: 'relational query',
    weight: 4,
    run: async ({ db, saw }) => {
      const rows = await db.query.items.findMany({ limit: 5, with: { parts: true } })
      saw(
        rows.flatMap((row) => [row.owner, ...row.parts.map((part) => part.owner)]),
        SEEDED,
      )
    },
  },
  {
    name: '$count',
    weight: 3,
    run: async ({ db, tenant, stranger, report }) => {
      const mine = await db.$count(items, eq(items.owner, tenant.marker))
      const all = await db.$count(items, sql`ref like '%-seed-%'`)
      if (mine < SEEDED || all !== SEEDED) report(`$count of ${tenant.marker} saw ${mine} own and ${all} seeded rows`)
      const foreign = await db.$count(items, eq(items.owner, stranger.tenant.marker))
      if (foreign !== 0 && stranger.tenant !== tenant)
        report(`$count of ${tenant.marker} counted ${foreign} foreign rows`)
    },
  },
  {
    name: "somebody else's prepared query",
    weight: 4,
    run: async ({ stranger, saw }) => saw(ownersOf(await stranger.prepared.execute({ least: 1 })), 1, stranger.tenant),
  },
  {
    name: "somebody else's builder, awaited here",
    weight: 3,
    run: async ({ db, stranger, saw }) => {
      const built = stranger.db.select().from(items).where(gte(items.id, 1)).limit(4)
      saw(ownersOf(await db.select().from(items).limit(4)), SEEDED)
      saw(ownersOf(await built), SEEDED, stranger.tenant)
    },
  },
  {
    name: 'two tenants at once',
    weight: 3,
    run: async ({ db, stranger, saw }) => {
      const [mine, theirs] = await Promise.all([
        db.select().from(items).limit(5),
        stranger.db.select().from(items).limit(5),
      ])
      saw(ownersOf(mine), SEEDED)
      saw(ownersOf(theirs), SEEDED, stranger.tenant)
    },
  },
  {
    name: 'shared function with a cached plan',
    weight: 4,
    run: async ({ db, random, saw }) => {
      const { rows } = await db.execute(
        sql`select owners() as owner union all select owner_of(${1 + random.below(SEEDED)}) union all select owner_sql()`,
      )
      saw(ownersOf(rows), SEEDED)
    },
  },
  {
    name: 'CALL',
    weight: 3,
    run: async ({ db, newRef, ledger }) => {
      const ref = newRef()
      await db.execute(sql`call add_item(${ref})`)
      ledger.committed(ref)
    },
  },
  {
    name: 'DO',
    weight: 2,
    run: async ({ db, newRef, ledger }) => {
      const ref = newRef()
      await db.execute(sql.raw(`do $$ begin insert into items (ref) values ('${ref}'); end $$`))
      ledger.committed(ref)
    },
  },
  {
    name: 'CALL that commits half-way',
    weight: 2,
    fails: ['2D000'],
    run: ({ db }) => db.execute(sql`call leaving()`),
  },
  failing('error of parsing', '42601', ({ db }) => db.execute(sql`selec 1`)),
  failing('error of names', '42P01', ({ db }) => db.execute(sql`select * from nowhere`)),
  failing('error of binding', '22P02', ({ db }) => db.execute(sql`select ${'abc'}::int`)),
  failing('error of execution', '22012', ({ db }) => db.execute(sql`select 1 / (id - id) from items`)),
  failing('error of a unique index', '23505', ({ db, tenant }) =>
    db.insert(items).values({ owner: tenant.marker, ref: `${tenant.marker}-seed-1` }),
  ),
  failing('error of a deferred foreign key', '23503', ({ db, tenant }) =>
    db.insert(parts).values({ owner: tenant.marker, itemId: -1 }),
  ),
  {
    name: 'long statement that may be cancelled',
    weight: 1,
    run: async ({ db, saw }) =>
      saw(ownersOf((await db.execute(sql`select owner, pg_sleep(0.005) from items limit 2`)).rows), 2),
  },
  {
    name: 'caller that hangs up',
    weight: 4,
    run: async ({ db, tenant, newRef, ledger, saw, drop }) => {
      const ref = newRef()
      const insert = db.insert(items).values({ owner: tenant.marker, ref }).returning()
      drop(insert.then((rows) => saw(ownersOf(rows), 1)).then(() => ledger.committed(ref)))
    },
  },
  {
    name: 'probe without a scope',
    weight: 3,
    fails: ['42P01'],
    run: async ({ pool, leaked }) => {
      const { rows } = await pool.query('select owner from items limit 1')
      leaked(rows.length)
    },
  },
]

function failing(name: string, code: string, run: (attempt: Attempt) => Promise<unknown>): Operation {
  return { name, weight: 1.5, fails: [code], run }
}
