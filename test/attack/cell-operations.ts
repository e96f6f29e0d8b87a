import { eq, like, sql } from 'drizzle-orm'
import type { Book, Cell, Feature, OpenCell } from '../matrix/cell.ts'
import { AUTHOR, type CellAttempt, type CellOperation, SEEDED_IDS } from './cell-attempt.ts'
import { cellEmbedded } from './cell-embedded.ts'
import { cellRequests } from './cell-requests.ts'
import { cellSynchronous } from './cell-synchronous.ts'
import { cellStrangers } from './cell-strangers.ts'
import { insert, titles, Undo, undone } from './cell-steps.ts'

/** What can be done to a cell. */
export function operationsOf({ cell, opened }: { cell: Cell; opened: OpenCell }): readonly CellOperation[] {
  const has = (feature: Feature) => cell.features.includes(feature)
  return [
    ...cellOperations,
    ...cellSynchronous,
    ...cellStrangers,
    ...cellRequests,
    ...cellEmbedded,
    unqualified(cell),
  ].filter(
    ({ needs, unless, possible }) =>
      (needs === undefined || has(needs)) && (unless === undefined || !has(unless)) && possible?.(opened) !== false,
  )
}

/** MariaDB gives to an UPDATE or DELETE that was killed the answer that it changed nothing: the row is as it was. */
function wasKilled({ opened }: CellAttempt, answer: unknown): boolean {
  const [first] = Array.isArray(answer) ? (answer as unknown[]) : []
  return opened.disturb !== undefined && (first as { affectedRows?: unknown } | undefined)?.affectedRows === 0
}

/** MariaDB can answer a join that was killed with no rows and no error. Such an answer is asked for again, a few times. */
async function unlessKilled<T>({ opened }: CellAttempt, read: () => PromiseLike<T[]>): Promise<T[]> {
  for (let tries = 0; ; tries++) {
    const rows = await read()
    if (rows.length > 0 || opened.disturb === undefined || tries === 3) return rows
  }
}

/** Raw SQL with a plain name: the tenant's, or nobody's. */
function unqualified({ unqualified: whose }: Cell): CellOperation {
  const query = sql`select title from books`
  return {
    name: 'raw SQL with a plain name',
    weight: 3,
    ...(whose === 'nobody' && { fails: true }),
    run: async (at) => at.saw((await at.opened.rows(at.db, query)) as { title: unknown }[], SEEDED_IDS.length),
  }
}

/** What tenants do to each other when nobody means it, and when somebody does. */
const cellOperations: readonly CellOperation[] = [
  { name: 'select', weight: 10, run: async (at) => at.saw(await titles(at, at.db), SEEDED_IDS.length) },
  {
    name: 'select by an id that everybody has',
    weight: 8,
    run: async (at) => {
      const { books } = at.opened.model
      at.saw(
        await at.db
          .select()
          .from(books)
          .where(eq(books.id, at.random.pick(SEEDED_IDS))),
        1,
      )
    },
  },
  {
    name: 'insert',
    weight: 8,
    run: async (at) => at.ledger.committed(await insert(at, at.db)),
  },
  {
    name: 'update of what is ours, by a title',
    weight: 5,
    run: async (at) => {
      const claim = at.ledger.claim()
      if (claim === undefined) return
      const { books } = at.opened.model
      const price = 1 + at.random.below(1000)
      const answer = await at.db.update(books).set({ price }).where(eq(books.title, claim.ref))
      if (wasKilled(at, answer)) return
      claim.updated(price)
    },
  },
  {
    name: 'delete of what is ours, by a title',
    weight: 4,
    run: async (at) => {
      const claim = at.ledger.claim()
      if (claim === undefined) return
      const answer = await at.db.delete(at.opened.model.books).where(eq(at.opened.model.books.title, claim.ref))
      if (wasKilled(at, answer)) return
      claim.deleted()
    },
  },
  {
    name: 'read, update and delete of what is somebody else’s, by a title',
    weight: 8,
    run: async (at) => {
      if (at.stranger.marker === at.marker) return
      const { books } = at.opened.model
      const theirs = like(books.title, `${at.stranger.marker}-%`)
      at.saw(await at.db.select().from(books).where(theirs))
      await at.db.update(books).set({ price: -1 }).where(theirs)
      await at.db.delete(books).where(theirs)
    },
  },
  {
    name: 'join and subquery over what is somebody else’s',
    weight: 4,
    run: async (at) => {
      const { authors, books } = at.opened.model
      const joined = () => at.db.select().from(authors).innerJoin(books, eq(books.authorId, authors.id)).limit(10)
      const rows = await unlessKilled(at, joined)
      at.saw(
        rows.map((row) => row.books),
        1,
      )
      const all = at.db.select({ id: books.id }).from(books)
      const within = () => at.db.select().from(books).where(sql`${books.id} in ${all}`).limit(10)
      at.saw(await unlessKilled(at, within), 1)
    },
  },
  {
    name: 'upsert over an id that everybody has',
    weight: 4,
    run: async (at) => {
      const id = at.random.pick(SEEDED_IDS)
      const book: Book = { id, authorId: AUTHOR, title: `${at.marker}-seed-${id}`, price: at.random.below(1000) }
      await at.opened.upsert(at.db, book)
    },
  },
  {
    name: '$count',
    weight: 3,
    run: async (at) => {
      const { books } = at.opened.model
      const seeds = await at.db.$count(books, like(books.title, '%-seed-%'))
      if (seeds !== SEEDED_IDS.length) at.report(`$count of ${at.marker} counted ${seeds} seeds`)
    },
  },
  {
    name: 'raw SQL with the names of tables',
    weight: 4,
    run: async (at) => {
      const { books } = at.opened.model
      const query = sql`select ${books.title} as title from ${books} where ${books.id} = ${at.random.pick(SEEDED_IDS)}`
      at.saw((await at.opened.rows(at.db, query)) as { title: unknown }[], 1)
    },
  },
  {
    name: 'update and delete by ids that everybody has, undone',
    unless: 'synchronous',
    weight: 3,
    run: async (at) => {
      const { books } = at.opened.model
      const work = at.db.transaction(async (tx) => {
        const id = at.random.pick(SEEDED_IDS)
        await tx.update(books).set({ price: -2 }).where(eq(books.id, id))
        await tx.delete(books).where(eq(books.id, id))
        at.saw(await titles(at, tx))
        throw new Undo()
      })
      await work.catch(undone)
    },
  },
  {
    name: 'statement that takes too long',
    weight: 0.1,
    possible: ({ tooLong }) => tooLong !== undefined,
    run: async (at) => {
      const error: unknown = await at.opened.tooLong?.(at.db).then(
        () => at.report('nothing stopped it'),
        (reason: unknown) => reason,
      )
      if (error instanceof Error && at.opened.isDisturbance?.(error) !== true) throw error
      at.saw(await titles(at, at.db), SEEDED_IDS.length)
    },
  },
  {
    name: 'transaction',
    unless: 'synchronous',
    weight: 5,
    run: async (at) => {
      const written: string[] = []
      await at.db.transaction(async (tx) => {
        written.push(await insert(at, tx))
        at.saw(await titles(at, tx), SEEDED_IDS.length)
        written.push(await insert(at, tx))
      })
      for (const title of written) at.ledger.committed(title)
    },
  },
  {
    name: 'transaction that throws',
    unless: 'synchronous',
    weight: 4,
    run: async (at) => {
      const work = at.db.transaction(async (tx) => {
        await insert(at, tx)
        await tx.delete(at.opened.model.books)
        throw new Undo()
      })
      await work.catch(undone)
      at.undone()
    },
  },
  {
    name: 'nested transaction that is undone',
    unless: 'synchronous',
    weight: 3,
    run: async (at) => {
      let kept = ''
      await at.db.transaction(async (tx) => {
        kept = await insert(at, tx)
        const nested = tx.transaction(async (inner) => {
          await insert(at, inner)
          throw new Undo()
        })
        await nested.catch(undone)
        at.saw(await titles(at, tx), SEEDED_IDS.length)
      })
      at.ledger.committed(kept)
      at.undone()
    },
  },
  {
    name: 'failing statement',
    weight: 4,
    fails: true,
    run: (at) => at.opened.rows(at.db, sql`select nonsense from ${at.opened.model.books}`),
  },
  {
    name: 'transaction with a failing statement',
    unless: 'synchronous',
    weight: 2,
    fails: true,
    run: (at) =>
      at.db.transaction(async (tx) => {
        await insert(at, tx)
        await at.opened.rows(tx, sql`select nonsense from ${at.opened.model.books}`)
      }),
  },
  {
    name: 'duplicate of our own',
    weight: 2,
    fails: true,
    run: (at) =>
      at.db.insert(at.opened.model.books).values({ authorId: AUTHOR, title: `${at.marker}-seed-${SEEDED_IDS[0]}` }),
  },
  {
    name: 'child of a parent that only somebody else has',
    weight: 2,
    fails: true,
    run: (at) => {
      const { marker } = at.stranger.marker === at.marker ? { marker: 'm9999' } : at.stranger
      return at.db
        .insert(at.opened.model.books)
        .values({ authorId: 1000 + Number(marker.slice(1)), title: at.newTitle() })
        .execute()
    },
  },
  {
    name: 'caller that hangs up',
    weight: 3,
    run: async (at) => at.drop(insert(at, at.db).then((title) => at.ledger.committed(title))),
  },
]
