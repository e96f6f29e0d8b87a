import * as orm from 'drizzle-orm'
import { eq, sql } from 'drizzle-orm'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { namespaceStrategy } from '../../src/isolation/namespace.ts'
import { migrateNamespace } from '../../src/migrations/runner.ts'
import { describeWith } from '../servers/suite.ts'
import { open } from '../support/database.ts'
import type { Cell, Db, OpenCell, RelationalDb } from './cell.ts'
import { mysqlCell } from './mysql-cells.ts'
import { pgCell, pgVariant } from './postgres-cells.ts'
import { sqliteCell } from './sqlite-cells.ts'
import { migrationOf, scopeOf } from './suite.ts'

const isOlder = !('defineRelations' in orm)

/** What docs/drizzle.md says that Drizzle cannot do. When one of these fails, Drizzle has learnt it. */
describeWith(['mariadb', 'postgres18'], 'what Drizzle itself cannot do', ({ mariadb, postgres18 }) => {
  describe('on PostgreSQL, names in the text', () => {
    const given = opened(pgCell('PostgreSQL 18', postgres18.url, pgVariant(namespaceStrategy('prefix'))))

    it('FOR UPDATE OF names a table that is called otherwise here', async () => {
      const { db, model } = given()
      const query = db.select().from(model.books).for('update', { of: model.books })
      await expect(query.execute()).rejects.toThrow()
    })

    it('has neither batch() nor iterator()', () => {
      const { db, model } = given()
      expect('batch' in db).toBe(false)
      expect('iterator' in db.select().from(model.books)).toBe(false)
    })

    it('0.45 drops the table from columns in a sub-select of a query over one table', async () => {
      const { db, model } = given()
      const { authors, books } = model
      await db.insert(authors).values([
        { id: 1, name: 'one' },
        { id: 2, name: 'two' },
      ])
      await db.insert(books).values([
        { id: 1, authorId: 2, title: 'x' },
        { id: 2, authorId: 2, title: 'y' },
      ])
      const counted = sql<string>`(select count(*) from ${books} where ${books.authorId} = ${authors.id})`
      const rows = await db.select({ id: authors.id, n: counted }).from(authors).orderBy(authors.id)
      expect(rows.map(({ n }) => Number(n))).toEqual(isOlder ? [1, 1] : [0, 2])
    })
  })

  describe('on MariaDB', () => {
    const given = opened(mysqlCell('mariadb', mariadb.url, namespaceStrategy('schema')))

    it('relational queries towards one row; with 1.0 all of them', async () => {
      const { relational } = given()
      await expect(relational.query.books.findFirst({ with: { author: true } })).rejects.toThrow()
      const many = relational.query.authors.findMany({ with: { books: true } })
      if (isOlder) expect(await many).toEqual([])
      else await expect(many).rejects.toThrow()
    })

    it('has no RETURNING, but $returningId()', async () => {
      const { db, model } = given()
      await db.insert(model.authors).values({ id: 1, name: 'one' })
      const insert = db.insert(model.books).values([
        { authorId: 1, title: 'x' },
        { authorId: 1, title: 'y' },
      ])
      expect('returning' in insert).toBe(false)
      const ids = (insert as unknown as { $returningId(): Promise<object[]> }).$returningId()
      expect(await ids).toEqual([{ id: 1 }, { id: 2 }])
      expect(await db.select({ title: model.books.title }).from(model.books).where(eq(model.books.id, 2))).toEqual([
        { title: 'y' },
      ])
    })
  })

  describe('on SQLite', () => {
    const given = opened(sqliteCell(namespaceStrategy('prefix')))

    it('has no row locks', () => {
      const { db, model } = given()
      expect('for' in db.select().from(model.books)).toBe(false)
    })
  })
})

/** A cell with one tenant without rows. */
function opened(cell: Cell): () => { db: Db; relational: RelationalDb; model: OpenCell['model'] } {
  let found: { db: Db; relational: RelationalDb; model: OpenCell['model'] } | undefined
  let over: OpenCell | undefined
  beforeAll(async () => {
    over = await cell.open()
    const { server, statements, model } = over
    const scope = scopeOf(cell)
    await migrateNamespace({ server, scope, migrations: [migrationOf(statements)] })
    const client = server.client(scope, open)
    found = { db: over.drizzle(client), relational: over.relational(client), model }
  })
  afterAll(() => over?.close())
  return () => found as NonNullable<typeof found>
}
