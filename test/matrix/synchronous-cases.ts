import { asc, eq, sql } from 'drizzle-orm'
import { expect } from 'vitest'
import { open } from '../support/database.ts'
import type { Book } from './cell.ts'
import { booksOf, type Case, type Given, seededBooks } from './cases.ts'
import { all, run, type SyncDb, syncOf } from './synchronous.ts'

class Undo extends Error {}

interface SyncRelationalDb {
  readonly query: { readonly books: { findMany(options: object): { sync(): { author: { name: string } }[] } } }
  transaction<T>(work: (tx: SyncRelationalDb) => T): T
}

const booksNow = ({ opened: { model } }: Given, db: Pick<SyncDb, 'select'>): Book[] => {
  const { id, authorId, title, price } = model.books
  return all(db.select({ id, authorId, title, price }).from(model.books).orderBy(asc(model.books.id)))
}

/** What an application does where a transaction is one synchronous call. */
export const synchronousCases: readonly Case[] = [
  {
    name: 'synchronous transactions commit, roll back and nest',
    needs: 'synchronous',
    run: async (given) => {
      const { a, b, opened } = given
      const { books } = opened.model
      const db = syncOf(a.db)
      const title = db.transaction((tx) => {
        run(tx.insert(books).values({ id: 120, authorId: 1, title: 'kept' }))
        expect(() =>
          tx.transaction((nested) => {
            run(nested.insert(books).values({ id: 121, authorId: 1, title: 'undone' }))
            expect(booksNow(given, nested)).toHaveLength(5)
            throw new Undo()
          }),
        ).toThrow(Undo)
        expect(booksNow(given, tx)).toHaveLength(4)
        expect(all(b.db.select().from(books))).toHaveLength(3)
        return 'given back'
      })
      expect(title).toBe('given back')
      expect(() =>
        db.transaction((tx) => {
          run(tx.delete(books))
          throw new Undo()
        }),
      ).toThrow(Undo)
      expect((await booksOf(given, a.db)).map(({ id }) => id)).toEqual([101, 102, 103, 120])
    },
  },
  {
    name: 'a synchronous transaction with every behaviour, and one that fails',
    needs: 'synchronous',
    run: async (given) => {
      const { a, opened } = given
      const { books } = opened.model
      const db = syncOf(a.db)
      for (const behavior of ['deferred', 'immediate', 'exclusive']) {
        expect(db.transaction((tx) => booksNow(given, tx), { behavior })).toEqual(seededBooks('a'))
        expect(() =>
          db.transaction(
            (tx) => {
              run(tx.update(books).set({ price: 7 }))
              run(tx.insert(books).values({ id: 101, authorId: 1, title: 'twice' }))
            },
            { behavior },
          ),
        ).toThrow()
      }
      expect(await booksOf(given, a.db)).toEqual(seededBooks('a'))
    },
  },
  {
    name: 'relational queries in a synchronous transaction',
    needs: 'synchronous',
    run: async (given) => {
      const { a, opened } = given
      const db = opened.relational(opened.server.client(a.scope, open)) as unknown as SyncRelationalDb
      const found = db.transaction((tx) => tx.query.books.findMany({ with: { author: true } }).sync())
      expect(found.map(({ author }) => author.name).sort()).toEqual(['Ada of a', 'Ada of a', 'Ben of a'])
    },
  },
  {
    name: 'rows in every form',
    needs: 'synchronous',
    run: async ({ a, opened: { model } }) => {
      const db = a.db as unknown as { all(q: unknown): unknown; get(q: unknown): unknown; values(q: unknown): unknown }
      const query = sql`select ${model.books.id} as id from ${model.books} where ${eq(model.books.id, 101)}`
      expect(db.all(query)).toEqual([{ id: 101 }])
      expect(db.get(query)).toEqual({ id: 101 })
      expect(db.values(query)).toEqual([[101]])
    },
  },
]
