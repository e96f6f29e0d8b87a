import * as orm from 'drizzle-orm'
import type { Model } from './models/model.ts'

/** What drizzle-orm 1.0 has in place of `relations`. */
type DefineRelations = (tables: object, describe: (r: unknown) => object) => object

interface Builder {
  readonly one: { authors(on: object): unknown }
  readonly many: { books(): unknown }
  readonly books: { readonly authorId: unknown }
  readonly authors: { readonly id: unknown }
}

/** The relations of the model as the version at hand takes them: `drizzle({ client, ...relationsOf(model) })`. */
export function relationsOf({ authors, books }: Model): object {
  const defineRelations: unknown = Reflect.get(orm, 'defineRelations')
  if (typeof defineRelations === 'function') {
    const relations = (defineRelations as DefineRelations)({ authors, books }, (r) => {
      const { one, many, books: from, authors: to } = r as Builder
      return {
        books: { author: one.authors({ from: from.authorId, to: to.id }) },
        authors: { books: many.books() },
      }
    })
    return { relations }
  }
  const { relations } = orm as typeof orm & { relations: (table: unknown, describe: (r: Older) => object) => unknown }
  return {
    schema: {
      authors,
      books,
      authorRelations: relations(authors, ({ many }) => ({ books: many(books) })),
      bookRelations: relations(books, ({ one }) => ({
        author: one(authors, { fields: [books.authorId], references: [authors.id] }),
      })),
    },
  }
}

interface Older {
  one(table: unknown, on: object): unknown
  many(table: unknown): unknown
}
