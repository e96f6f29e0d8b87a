import { type CellOperation, SEEDED_IDS } from './cell-attempt.ts'
import { insert, titles, Undo, undone } from './cell-steps.ts'

/** What requests do that have one transaction for all their statements, and what becomes of rows that nobody reads. */
export const cellRequests: readonly CellOperation[] = [
  {
    name: 'request with a transaction',
    unless: 'synchronous',
    weight: 4,
    run: async (at) => {
      const { db, commit, rollback } = at.request()
      try {
        const title = await insert(at, db)
        at.saw(await titles(at, db), SEEDED_IDS.length)
        const nested = db.transaction(async (tx) => {
          await insert(at, tx)
          throw new Undo()
        })
        await nested.catch(undone)
        await commit()
        at.ledger.committed(title)
        at.undone()
      } finally {
        await rollback()
      }
    },
  },
  {
    name: 'request whose handler throws',
    unless: 'synchronous',
    weight: 3,
    run: async (at) => {
      const { db, rollback } = at.request()
      try {
        await insert(at, db)
        await db.delete(at.opened.model.books)
      } finally {
        await rollback()
      }
      at.undone()
    },
  },
  {
    name: 'request that is aborted while it writes',
    unless: 'synchronous',
    weight: 3,
    run: async (at) => {
      const { db, rollback } = at.request()
      const writing = insert(at, db).then(
        () => insert(at, db),
        () => undefined,
      )
      const over = writing.catch(() => {})
      if (at.random.chance(0.5)) await new Promise(setImmediate)
      await rollback()
      await over
      at.undone()
    },
  },
  {
    name: 'rows that nobody reads to the end',
    weight: 2,
    needs: 'iterator',
    run: async (at) => {
      const { books } = at.opened.model
      const rows = (on: unknown) =>
        (on as { select(): { from(table: unknown): { prepare(): { iterator(): AsyncIterable<{ title: string }> } } } })
          .select()
          .from(books)
          .prepare()
          .iterator()
      for await (const row of rows(at.db)) {
        at.saw([row])
        if (at.random.chance(0.5)) break
      }
      await at.db.transaction(async (tx) => {
        for await (const row of rows(tx)) {
          at.saw([row])
          break
        }
        at.saw(await titles(at, tx), SEEDED_IDS.length)
      })
    },
  },
]
