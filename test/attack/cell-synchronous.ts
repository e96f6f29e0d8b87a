import { eq, like, sql } from 'drizzle-orm'
import { enterContext, TenancyContext } from '../../src/context.ts'
import { all, run, type SyncDb, syncOf } from '../matrix/synchronous.ts'
import { AUTHOR, type CellAttempt, type CellOperation, SEEDED_IDS } from './cell-attempt.ts'
import { NOBODY } from './cell-context.ts'
import { Undo } from './cell-steps.ts'
import { foreign } from './cell-strangers.ts'
import { codeOf } from './operation.ts'

const needs = 'synchronous'

const titlesNow = ({ opened: { model } }: CellAttempt, db: Pick<SyncDb, 'select'>) =>
  all(db.select({ title: model.books.title }).from(model.books).limit(20))

function insertNow(at: CellAttempt, db: Pick<SyncDb, 'insert'>): string {
  const title = at.newTitle()
  run(db.insert(at.opened.model.books).values({ authorId: AUTHOR, title }))
  return title
}

/** Lets everything through but {@link Undo}. */
function undo(work: () => unknown): void {
  try {
    work()
  } catch (error) {
    if (!(error instanceof Undo)) throw error
  }
}

/** The same transactions where each is one call. */
export const cellSynchronous: readonly CellOperation[] = [
  {
    name: 'synchronous transaction',
    weight: 6,
    needs,
    run: async (at) => {
      const written = syncOf(at.db).transaction((tx) => {
        const first = insertNow(at, tx)
        at.saw(titlesNow(at, tx), SEEDED_IDS.length)
        return [first, insertNow(at, tx)]
      })
      for (const title of written) at.ledger.committed(title)
    },
  },
  {
    name: 'synchronous transaction that throws',
    weight: 5,
    needs,
    run: async (at) => {
      const { books } = at.opened.model
      undo(() =>
        syncOf(at.db).transaction((tx) => {
          insertNow(at, tx)
          const id = at.random.pick(SEEDED_IDS)
          run(tx.update(books).set({ price: -2 }).where(eq(books.id, id)))
          run(tx.delete(books))
          at.saw(titlesNow(at, tx))
          throw new Undo()
        }),
      )
      at.undone()
    },
  },
  {
    name: 'synchronous nested transaction that is undone',
    weight: 4,
    needs,
    run: async (at) => {
      const kept = syncOf(at.db).transaction((tx) => {
        const title = insertNow(at, tx)
        undo(() =>
          tx.transaction((inner) => {
            insertNow(at, inner)
            throw new Undo()
          }),
        )
        at.saw(titlesNow(at, tx), SEEDED_IDS.length)
        return title
      })
      at.ledger.committed(kept)
      at.undone()
    },
  },
  {
    name: 'synchronous transaction with a failing statement',
    weight: 3,
    needs,
    fails: true,
    run: async (at) =>
      syncOf(at.db).transaction((tx) => {
        insertNow(at, tx)
        ;(tx as unknown as { all(query: unknown): unknown }).all(sql`select nonsense from ${at.opened.model.books}`)
      }),
  },
  {
    name: 'synchronous transaction that SQLite gives up by itself',
    weight: 2,
    needs,
    fails: true,
    run: async (at) => {
      const { books } = at.opened.model
      const taken = `${at.marker}-seed-${SEEDED_IDS[0]}`
      syncOf(at.db).transaction((tx) => {
        insertNow(at, tx)
        const raw = tx as unknown as { run(query: unknown): unknown }
        try {
          raw.run(sql`insert or rollback into ${books} (author_id, title) values (${AUTHOR}, ${taken})`)
        } catch {
          // What follows is not to be on its own.
        }
        run(tx.delete(books).where(like(books.title, '%-seed-%')))
      })
    },
  },
  {
    name: 'somebody else’s synchronous transaction',
    weight: 3,
    needs,
    run: (at) => foreign(at, async () => syncOf(at.stranger.db).transaction((tx) => titlesNow(at, tx))),
  },
  {
    name: 'somebody else’s statements inside of a transaction',
    weight: 3,
    needs,
    run: async (at) => {
      if (at.stranger.marker === at.marker) return
      const { books } = at.opened.model
      undo(() =>
        syncOf(at.db).transaction((tx) => {
          run(tx.delete(books).where(eq(books.id, SEEDED_IDS[0] as number)))
          // Read beside it; what they write is theirs, or refused, and never undone with ours.
          const theirs = enterContext(new TenancyContext(NOBODY, undefined), () => {
            const change = at.stranger.db.update(books).set({ price: 1 }).where(like(books.title, '%-seed-%'))
            const code = codeFrom(() => run(change))
            if (code !== undefined && code !== 'TENANCY_ERR_STATEMENT_REFUSED' && code !== 'TENANCY_ERR_POOL_TIMEOUT')
              at.report(`it was ${code}`)
            return readUnlessBusy(() => titlesNow(at, syncOf(at.stranger.db)))
          })
          if (theirs !== undefined) at.saw(theirs, SEEDED_IDS.length, at.stranger)
          at.saw(titlesNow(at, tx), SEEDED_IDS.length - 1)
          throw new Undo()
        }),
      )
    },
  },
  {
    name: 'request with a transaction, which is refused',
    weight: 1,
    needs,
    fails: true,
    run: async (at) => at.request(),
  },
]

/** Where no more files may be open than the one of the transaction, there is no room for another. */
function readUnlessBusy<T>(work: () => T): T | undefined {
  try {
    return work()
  } catch (error) {
    if (codeOf(error) !== 'TENANCY_ERR_POOL_TIMEOUT') throw error
    return undefined
  }
}

function codeFrom(work: () => unknown): string | undefined {
  try {
    work()
    return undefined
  } catch (error) {
    return codeOf(error) ?? String(error)
  }
}
