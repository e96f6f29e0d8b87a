import { aliasedTable, asc, eq, exists, gt, inArray, lt, sql } from 'drizzle-orm'
import { expect } from 'vitest'
import type { Book, CellTenant, Cell, Feature, OpenCell, Runner } from './cell.ts'

/** What a case is given: two tenants with the same ids in all their tables, freshly seeded. */
export interface Given {
  readonly cell: Cell
  readonly opened: OpenCell
  readonly a: CellTenant
  readonly b: CellTenant
}

/** Something that an application does. Afterwards the rows of `b` must be as seeded, unless the case says so itself. */
export interface Case {
  readonly name: string
  readonly needs?: Feature
  /** What makes it impossible. */
  readonly unless?: Feature
  run(given: Given): Promise<unknown>
}

/** The rows that every tenant begins with. */
export const seededBooks = (name: string): Book[] =>
  [1, 2, 3].map((n) => ({ id: 100 + n, authorId: n === 3 ? 2 : 1, title: `Book ${n} of ${name}`, price: n * 10 - 5 }))

/** All books of whoever asks, by id. */
export async function booksOf({ opened: { model } }: Pick<Given, 'opened'>, db: Runner): Promise<Book[]> {
  const { id, authorId, title, price } = model.books
  return db.select({ id, authorId, title, price }).from(model.books).orderBy(asc(model.books.id))
}

const titlesOf = (name: string) => seededBooks(name).map(({ title }) => title)

/** Ends a transaction. */
class Undo extends Error {}

export const cases: readonly Case[] = [
  {
    name: 'select finds only own rows',
    run: async (given) => {
      expect(await booksOf(given, given.a.db)).toEqual(seededBooks('a'))
      expect(await booksOf(given, given.b.db)).toEqual(seededBooks('b'))
    },
  },
  {
    name: 'an id that everybody has is the own one',
    run: async ({ a, opened: { model } }) => {
      const rows = await a.db.select().from(model.books).where(eq(model.books.id, 102))
      expect(rows).toMatchObject([{ title: 'Book 2 of a' }])
    },
  },
  {
    name: 'insert lands with the tenant, generated ids too',
    run: async (given) => {
      const { a, b, opened } = given
      await a.db.insert(opened.model.books).values({ authorId: 1, title: 'new' })
      const own = await booksOf(given, a.db)
      expect(own).toHaveLength(4)
      expect(own.find(({ title }) => title === 'new')).toMatchObject({ price: 0 })
      expect(await booksOf(given, b.db)).toHaveLength(3)
    },
  },
  {
    name: 'insert, update and delete return own rows',
    needs: 'returning',
    run: async ({ a, opened: { model } }) => {
      const { books } = model
      expect(await a.db.insert(books).values({ id: 109, authorId: 2, title: 'nine' }).returning()).toMatchObject([
        { id: 109, title: 'nine' },
      ])
      const updated = await a.db.update(books).set({ price: 1 }).where(eq(books.id, 101)).returning()
      expect(updated).toMatchObject([{ title: 'Book 1 of a', price: 1 }])
      expect(await a.db.delete(books).where(gt(books.id, 0)).returning()).toHaveLength(4)
    },
  },
  {
    name: 'update and delete without a condition stop at the tenant',
    run: async (given) => {
      const { a, opened } = given
      await a.db.update(opened.model.books).set({ price: 99 })
      expect((await booksOf(given, a.db)).map(({ price }) => price)).toEqual([99, 99, 99])
      await a.db.delete(opened.model.books)
      expect(await booksOf(given, a.db)).toEqual([])
    },
  },
  {
    name: 'upsert meets only own rows',
    run: async (given) => {
      const { a, opened } = given
      const book = { id: 101, authorId: 1, title: 'upserted', price: 7 }
      await opened.upsert(a.db, book)
      await opened.upsert(a.db, { ...book, id: 108, title: 'fresh' })
      const own = await booksOf(given, a.db)
      expect(own.filter(({ price }) => price === 7).map(({ title }) => title)).toEqual(['upserted', 'fresh'])
    },
  },
  {
    name: 'joins, with partial selections',
    run: async ({ a, opened: { model } }) => {
      const { authors, books } = model
      const full = await a.db.select().from(books).innerJoin(authors, eq(books.authorId, authors.id)).orderBy(books.id)
      expect(full.map((row) => [row.books.title, row.authors.name])).toEqual([
        ['Book 1 of a', 'Ada of a'],
        ['Book 2 of a', 'Ada of a'],
        ['Book 3 of a', 'Ben of a'],
      ])
      const left = await a.db
        .select({ name: authors.name, title: books.title })
        .from(authors)
        .leftJoin(books, eq(books.authorId, authors.id))
        .where(eq(authors.id, 2))
      expect(left).toEqual([{ name: 'Ben of a', title: 'Book 3 of a' }])
    },
  },
  {
    name: 'a self-join with an alias',
    run: async ({ a, opened: { model } }) => {
      const { authors } = model
      const boss = aliasedTable(authors, 'boss')
      const rows = await a.db
        .select({ name: authors.name, boss: boss.name })
        .from(authors)
        .innerJoin(boss, eq(authors.bossId, boss.id))
      expect(rows).toEqual([{ name: 'Ben of a', boss: 'Ada of a' }])
    },
  },
  {
    name: 'CTEs, subqueries, exists and in',
    run: async ({ a, opened: { model } }) => {
      const { authors, books } = model
      const dear = a.db.$with('dear').as(a.db.select().from(books).where(gt(books.price, 10)))
      expect(await a.db.with(dear).select({ title: dear.title }).from(dear).orderBy(dear.title)).toEqual([
        { title: 'Book 2 of a' },
        { title: 'Book 3 of a' },
      ])
      const sub = a.db.select({ author: books.authorId, n: sql<string | number>`count(*)`.as('n') }).from(books)
      const counted = sub.groupBy(books.authorId).as('counted')
      const rows = await a.db
        .select({ name: authors.name, n: counted.n })
        .from(authors)
        .innerJoin(counted, eq(counted.author, authors.id))
        .orderBy(authors.name)
      expect(rows.map(({ name, n }) => [name, Number(n)])).toEqual([
        ['Ada of a', 2],
        ['Ben of a', 1],
      ])
      const ofAuthor = a.db.select().from(books).where(eq(books.authorId, authors.id))
      expect(await a.db.select().from(authors).where(exists(ofAuthor))).toHaveLength(2)
      const ids = a.db.select({ id: books.authorId }).from(books).where(lt(books.price, 10))
      expect(await a.db.select().from(authors).where(inArray(authors.id, ids))).toMatchObject([{ name: 'Ada of a' }])
    },
  },
  {
    name: 'set operations, distinct, group and order',
    run: async ({ a, opened: { model } }) => {
      const { authors, books } = model
      const names = a.db.select({ text: authors.name }).from(authors)
      const titles = a.db.select({ text: books.title }).from(books)
      const all = (await names.union(titles)).map(({ text }) => text)
      expect(all.sort()).toEqual(['Ada of a', 'Ben of a', ...titlesOf('a')])
      const distinct = await a.db.selectDistinct({ id: books.authorId }).from(books).orderBy(asc(books.authorId))
      expect(distinct).toEqual([{ id: 1 }, { id: 2 }])
    },
  },
  {
    name: 'a view',
    run: async ({ a, b, opened: { model } }) => {
      expect(await a.db.select().from(model.cheapBooks)).toEqual([{ id: 101, title: 'Book 1 of a' }])
      expect(await b.db.select({ title: model.cheapBooks.title }).from(model.cheapBooks)).toEqual([
        { title: 'Book 1 of b' },
      ])
    },
  },
  {
    name: '$count',
    run: async ({ a, opened: { model } }) => {
      expect(await a.db.$count(model.books)).toBe(3)
      expect(await a.db.$count(model.books, eq(model.books.title, 'Book 1 of b'))).toBe(0)
    },
  },
  {
    name: 'raw SQL with the names of tables and columns',
    run: async ({ a, opened }) => {
      const { books } = opened.model
      const query = sql`select ${books.title} as title from ${books} where ${books.id} = ${101}`
      expect(await opened.rows(a.db, query)).toMatchObject([{ title: 'Book 1 of a' }])
    },
  },
  {
    name: '[W9] raw SQL with a plain name is the tenant’s, or nobody’s',
    run: async ({ a, cell, opened }) => {
      const rows = opened.rows(a.db, sql`select title from books where id = 101`)
      if (cell.unqualified === 'own') expect(await rows).toMatchObject([{ title: 'Book 1 of a' }])
      else await expect(rows).rejects.toThrow()
    },
  },
  {
    name: 'prepared statements stay with their tenant',
    run: async ({ a, b, opened: { model } }) => {
      const [ofA, ofB] = [a, b].map(({ db }) =>
        db
          .select({ title: model.books.title })
          .from(model.books)
          .where(eq(model.books.id, sql.placeholder('id')))
          .prepare('book_by_id'),
      )
      for (const n of [1, 2, 1]) {
        expect(await ofA?.execute({ id: 100 + n })).toEqual([{ title: `Book ${n} of a` }])
        expect(await ofB?.execute({ id: 100 + n })).toEqual([{ title: `Book ${n} of b` }])
      }
    },
  },
  {
    name: 'insert from select',
    run: async (given) => {
      const { a, opened } = given
      const { authors } = opened.model
      await opened.rows(
        a.db,
        sql`insert into ${opened.model.books} (author_id, title, price) select ${authors.id}, concat(${authors.name}, '!'), 1 from ${authors}`,
      )
      expect((await booksOf(given, a.db)).map(({ title }) => title).sort()).toEqual([
        'Ada of a!',
        'Ben of a!',
        ...titlesOf('a'),
      ])
    },
  },
  {
    name: 'a foreign key sees only own parents, and cascades only to own children',
    run: async (given) => {
      const { a, b, opened } = given
      const { authors, books } = opened.model
      await b.db.insert(authors).values({ id: 77, name: 'only of b' })
      await expect(a.db.insert(books).values({ authorId: 77, title: 'stolen' }).execute()).rejects.toThrow()
      await b.db.delete(authors).where(eq(authors.id, 77))
      await a.db.delete(authors).where(eq(authors.id, 2))
      expect((await booksOf(given, a.db)).map(({ id }) => id)).toEqual([101, 102])
    },
  },
  {
    name: 'unique, check and not null hold inside a tenant, and not between two',
    run: async ({ a, opened: { model } }) => {
      const { authors, books } = model
      await a.db.insert(books).values({ authorId: 1, title: 'Book 1 of b' })
      const twice = a.db.insert(books).values({ authorId: 1, title: 'Book 1 of a' }).execute()
      await expect(twice).rejects.toThrow()
      await expect(a.db.insert(authors).values({ id: 5, name: '' }).execute()).rejects.toThrow()
    },
  },
  {
    name: 'transactions commit, roll back and nest',
    unless: 'synchronous',
    run: async (given) => {
      const { a, b, opened } = given
      const { books } = opened.model
      await a.db.transaction(async (tx) => {
        await tx.insert(books).values({ id: 120, authorId: 1, title: 'kept' })
        await tx
          .transaction(async (nested) => {
            await nested.insert(books).values({ id: 121, authorId: 1, title: 'undone' })
            expect(await booksOf(given, nested)).toHaveLength(5)
            throw new Undo()
          })
          .catch(ignoreUndo)
        expect(await booksOf(given, tx)).toHaveLength(4)
      })
      const failing = a.db.transaction(async (tx) => {
        await tx.delete(books)
        throw new Undo()
      })
      await failing.catch(ignoreUndo)
      expect((await booksOf(given, a.db)).map(({ id }) => id)).toEqual([101, 102, 103, 120])
      expect(await booksOf(given, b.db)).toHaveLength(3)
    },
  },
  {
    name: 'a failed statement leaves the next ones as they are',
    run: async (given) => {
      const { a, b, opened } = given
      for (let i = 0; i < 5; i++) {
        await expect(opened.rows(a.db, sql`select nonsense from ${opened.model.books}`)).rejects.toThrow()
        expect(await booksOf(given, b.db)).toEqual(seededBooks('b'))
        expect(await booksOf(given, a.db)).toEqual(seededBooks('a'))
      }
    },
  },
  {
    name: 'a finished transaction takes no more statements',
    unless: 'synchronous',
    run: async (given) => {
      let left: Runner | undefined
      await given.a.db.transaction(async (tx) => {
        left = tx
        await booksOf(given, tx)
      })
      await expect(booksOf(given, left as Runner)).rejects.toThrow()
    },
  },
  {
    name: 'text that looks like a name of ours is only text',
    run: async (given) => {
      const { a, opened } = given
      for (const title of [
        '"__tenant__"."books"',
        '`__tenant__`.`books`',
        '[__tenant__].[books]',
        `it''s "quoted" \\`,
      ]) {
        await a.db.update(opened.model.books).set({ title }).where(eq(opened.model.books.id, 101))
        expect((await booksOf(given, a.db))[0]?.title).toBe(title)
        expect(await opened.rows(a.db, sql`select ${title} as t`)).toMatchObject([{ t: title }])
      }
      expect(await opened.rows(a.db, sql.raw(`select '"__tenant__"."books"' as t`))).toMatchObject([
        { t: '"__tenant__"."books"' },
      ])
    },
  },
  {
    name: 'many tenants at once, each with a query of its own kind',
    run: async (given) => {
      const { a, b, opened } = given
      const { books } = opened.model
      const work = Array.from({ length: 60 }, async (_, i) => {
        const { db, name } = i % 2 === 0 ? a : b
        if (i % 5 === 0 && !given.cell.features.includes('synchronous')) {
          const own = await db.transaction(async (tx) => booksOf(given, tx))
          expect(own).toEqual(seededBooks(name))
        } else if (i % 7 === 0) {
          await expect(opened.rows(db, sql`select nonsense from ${books}`)).rejects.toThrow()
        } else expect(await booksOf(given, db)).toEqual(seededBooks(name))
      })
      await Promise.all(work)
    },
  },
]

function ignoreUndo(error: unknown): void {
  if (!(error instanceof Undo)) throw error
}
