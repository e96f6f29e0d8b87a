import { eq, gt, sql } from 'drizzle-orm'
import { expect } from 'vitest'
import { open } from '../support/database.ts'
import { booksOf, type Case, type Given, seededBooks } from './cases.ts'
import type { CellTenant, RelationalDb } from './cell.ts'

/** What an application does where its database, and Drizzle for it, can. */
export const featureCases: readonly Case[] = [
  {
    name: 'relational queries, in a transaction too',
    needs: 'relational',
    run: async (given) => {
      const { a, b } = given
      for (const tenant of [a, b, a]) {
        const db = relationalOf(given, tenant)
        await expectOwnRelations(db, tenant)
        if (!given.cell.features.includes('synchronous')) await db.transaction((tx) => expectOwnRelations(tx, tenant))
      }
    },
  },
  {
    name: 'relational queries towards one row',
    needs: 'relational one',
    run: async (given) => {
      for (const tenant of [given.a, given.b]) {
        const first = await relationalOf(given, tenant).query.books.findFirst({ with: { author: true } })
        expect(first?.author.name).toMatch(new RegExp(` of ${tenant.name}$`))
      }
    },
  },
  {
    name: 'update from another table',
    needs: 'update from',
    run: async (given) => {
      const { a, opened } = given
      const { authors, books } = opened.model
      const changed = await a.db
        .update(books)
        .set({ title: sql`${books.id} || ${authors.name}` })
        .from(authors)
        .where(eq(books.authorId, authors.id))
        .returning({ id: books.id })
      expect(changed).toHaveLength(3)
      expect((await booksOf(given, a.db)).map(({ title }) => title)).toEqual([
        '101Ada of a',
        '102Ada of a',
        '103Ben of a',
      ])
    },
  },
  {
    name: 'upsert that does nothing, and one with a condition',
    needs: 'update from',
    run: async (given) => {
      const { a, opened } = given
      const { books } = opened.model
      await a.db.insert(books).values({ id: 101, authorId: 1, title: 'not taken' }).onConflictDoNothing()
      expect(await booksOf(given, a.db)).toEqual(seededBooks('a'))
    },
  },
  {
    name: 'rows locked for update',
    needs: 'lock',
    run: async ({ a, b, opened: { model } }) => {
      const locked = (db: CellTenant['db']) =>
        db.select().from(model.books).where(gt(model.books.id, 101)).for('update')
      await a.db.transaction(async (tx) => {
        expect(await locked(tx as never)).toHaveLength(2)
        // The other tenant's rows with the same ids are not locked.
        expect(await locked(b.db)).toHaveLength(2)
        const skipping = b.db.select().from(model.books).for('update', { skipLocked: true })
        expect(await skipping).toHaveLength(3)
      })
    },
  },
  {
    name: 'isolation levels',
    needs: 'isolation level',
    run: async (given) => {
      const { a, opened } = given
      const { books } = opened.model
      for (const isolationLevel of ['read committed', 'repeatable read', 'serializable'] as const) {
        const own = await a.db.transaction(
          async (tx) => {
            return booksOf(given, tx)
          },
          { isolationLevel },
        )
        expect(own).toEqual(seededBooks('a'))
      }
      const readOnly = a.db.transaction(async (tx) => tx.delete(books).execute(), { accessMode: 'read only' })
      await expect(readOnly).rejects.toThrow()
      expect(await booksOf(given, a.db)).toEqual(seededBooks('a'))
    },
  },
  {
    name: 'a batch is one transaction',
    needs: 'batch',
    run: async (given) => {
      const { a, opened } = given
      const { books } = opened.model
      const db = a.db as unknown as Batching
      const insert = (id: number) => a.db.insert(books).values({ id, authorId: 1, title: `batched ${id}` })
      const [, rows] = await db.batch([insert(131), a.db.select({ id: books.id }).from(books).orderBy(books.id)])
      expect(rows).toEqual([{ id: 101 }, { id: 102 }, { id: 103 }, { id: 131 }])
      await expect(db.batch([insert(132), insert(131)])).rejects.toThrow()
      expect((await booksOf(given, a.db)).map(({ id }) => id)).toEqual([101, 102, 103, 131])
    },
  },
  {
    name: 'an iterator gives own rows, and can be left early',
    needs: 'iterator',
    run: async (given) => {
      const { a, b, opened } = given
      const { books } = opened.model
      const iterate = ({ db }: CellTenant) =>
        (db.select({ title: books.title }).from(books).orderBy(books.id) as unknown as Iterable).iterator()
      for (const tenant of [a, b, a]) {
        const titles: string[] = []
        for await (const { title } of iterate(tenant)) titles.push(title)
        expect(titles).toEqual(seededBooks(tenant.name).map(({ title }) => title))
        for await (const { title } of iterate(tenant)) {
          expect(title).toBe(`Book 1 of ${tenant.name}`)
          break
        }
      }
      expect(await booksOf(given, a.db)).toEqual(seededBooks('a'))
    },
  },
]

interface Batching {
  batch(queries: readonly object[]): Promise<readonly unknown[]>
}

interface Iterable {
  iterator(): AsyncIterable<{ readonly title: string }>
}

function relationalOf({ opened }: Given, { scope }: CellTenant): RelationalDb {
  return opened.relational(opened.server.client(scope, open))
}

async function expectOwnRelations({ query }: RelationalDb, { name }: CellTenant): Promise<void> {
  const authors = await query.authors.findMany({ with: { books: true } })
  expect(new Map(authors.map((author) => [author.name, author.books.length]))).toEqual(
    new Map([
      [`Ada of ${name}`, 2],
      [`Ben of ${name}`, 1],
    ]),
  )
  const titles = authors.flatMap(({ books }) => books.map(({ title }) => title))
  expect(titles.sort()).toEqual(seededBooks(name).map(({ title }) => title))
}
