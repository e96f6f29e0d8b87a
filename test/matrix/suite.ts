import { randomUUID } from 'node:crypto'
import { sql } from 'drizzle-orm'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { Migration } from '../../src/contracts/migrator.ts'
import { migrateNamespace } from '../../src/migrations/runner.ts'
import { open } from '../support/database.ts'
import { booksOf, cases, type Given, seededBooks } from './cases.ts'
import type { Cell, CellTenant, OpenCell } from './cell.ts'
import { featureCases } from './feature-cases.ts'
import { synchronousCases } from './synchronous-cases.ts'

/** Runs every case on one cell. */
export function matrixSuite(cell: Cell): void {
  describe(cell.name, () => {
    let opened: OpenCell
    let a: CellTenant
    let b: CellTenant
    const given = (): Given => ({ cell, opened, a, b })

    beforeAll(async () => {
      opened = await cell.open()
      a = await newTenant(cell, opened, 'a')
      b = await newTenant(cell, opened, 'b')
    })
    afterAll(() => opened?.close())
    beforeEach(async () => {
      for (const tenant of [a, b]) await seed(opened, tenant)
    })
    afterEach(async () => {
      expect(await booksOf(given(), b.db)).toEqual(seededBooks('b'))
    })

    for (const one of [...cases, ...featureCases, ...synchronousCases]) {
      if (one.needs !== undefined && !cell.features.includes(one.needs)) continue
      if (one.unless !== undefined && cell.features.includes(one.unless)) continue
      it(one.name, () => one.run(given()))
    }

    it('a second run of the migrations changes nothing', async () => {
      const { server, statements } = opened
      const migrations = [migrationOf(statements)]
      expect(await migrateNamespace({ server, scope: a.scope, migrations })).toMatchObject({ applied: [], skipped: 1 })
      expect(await booksOf(given(), a.db)).toEqual(seededBooks('a'))
    })

    it('[W4] [W7] [W20] destroy removes one tenant, all of it and nothing else', async () => {
      const gone = await newTenant(cell, opened, 'gone')
      await seed(opened, gone)
      const report = await opened.server.destroy(gone.scope)
      expect(report.objects + report.rows).toBeGreaterThan(0)
      expect(await opened.server.destroy(gone.scope)).toEqual({ objects: 0, rows: 0 })
      const after = await booksOf(given(), gone.db).catch(() => [])
      expect(after).toEqual([])
      expect(await booksOf(given(), a.db)).toEqual(seededBooks('a'))
    })

    it('[W3] an attempt that fails removes nothing of a tenant that is there, and leaves nothing of one that is not', async () => {
      const { server, statements } = opened
      const failing = {
        ...migrationOf(['CREATE TABLE extra (id integer)', 'INSERT INTO nowhere (x) VALUES (1)']),
        name: '0001_fails',
        hash: 'hash of 0001_fails',
      }
      const live = await newTenant(cell, opened, 'live')
      await seed(opened, live)
      const again = (scope: CellTenant['scope']) =>
        migrateNamespace({ server, scope, migrations: [migrationOf(statements), failing] })
      const attempts = await Promise.allSettled([again(live.scope), again(live.scope), again(live.scope)])
      expect(attempts.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected'])
      expect(await booksOf(given(), live.db)).toEqual(seededBooks('live'))
      const never = scopeOf(cell)
      await expect(again(never)).rejects.toThrow()
      expect(await server.destroy(never)).toEqual({ objects: 0, rows: 0 })
      expect(await booksOf(given(), live.db)).toEqual(seededBooks('live'))
      await server.destroy(live.scope)
    })

    // Under rls a shared table needs more than this; test/conformance/postgres-rls.test.ts has it.
    it.skipIf(cell.strategy.name === 'rls')('[W28] an index over several columns is each tenant’s own', async () => {
      const [one, other] = [await newTenant(cell, opened, 'one'), await newTenant(cell, opened, 'other')]
      for (const { scope } of [one, other]) {
        await opened.server.inNamespace(scope, async (session) => {
          for (const statement of [
            'CREATE TABLE marks (a integer NOT NULL, b integer NOT NULL)',
            'CREATE UNIQUE INDEX marks_a_b ON marks (a, b)',
          ]) {
            await session.run(opened.server.parseDdl(statement).render(scope))
          }
          await session.seal()
        })
      }
      const marks = sql`${sql.identifier('__tenant__')}.${sql.identifier('marks')}`
      const mark = ({ db }: CellTenant, a: number, b: number) =>
        opened.rows(db, sql`insert into ${marks} (a, b) values (${a}, ${b})`)
      await mark(one, 1, 1)
      await mark(one, 1, 2)
      await mark(other, 1, 1)
      await expect(mark(one, 1, 1)).rejects.toThrow()
      expect(await opened.rows(other.db, sql`select a, b from ${marks}`)).toEqual([{ a: 1, b: 1 }])
      for (const { scope } of [one, other]) await opened.server.destroy(scope)
    })

    it('[W51] tables that differ during a rolling migration are nobody’s cached plan', async () => {
      const [before, after] = [await newTenant(cell, opened, 'before'), await newTenant(cell, opened, 'after')]
      const { model, server } = opened
      const prepared = [before, after].map(({ db }) =>
        db.select({ title: model.books.title }).from(model.books).orderBy(model.books.id).prepare('all_books'),
      )
      const readAll = async () => {
        for (const [i, tenant] of [before, after].entries()) {
          const titles = seededBooks(tenant.name).map(({ title }) => ({ title }))
          expect(await prepared[i]?.execute()).toEqual(titles)
          expect(await opened.rows(tenant.db, sql`select * from ${model.books} order by id`)).toMatchObject(titles)
          if (cell.features.includes('synchronous')) continue
          await tenant.db.transaction(async (tx) => {
            expect(await opened.rows(tx, sql`select * from ${model.books} order by id`)).toMatchObject(titles)
          })
        }
      }
      const migrate = (statement: string) =>
        server.inNamespace(after.scope, (session) => session.run(server.parseDdl(statement).render(after.scope)))
      for (const tenant of [before, after]) await seed(opened, tenant)
      await readAll()
      await migrate('ALTER TABLE books ADD later integer')
      for (let i = 0; i < 3; i++) await readAll()
      await migrate('ALTER TABLE books DROP COLUMN later')
      for (let i = 0; i < 3; i++) await readAll()
      for (const { scope } of [before, after]) await server.destroy(scope)
    })

    it('[W49] concurrent provisioning of one tenant ends with one namespace', async () => {
      const scope = scopeOf(cell)
      const { server, statements } = opened
      const migrations = [migrationOf(statements)]
      await Promise.all(Array.from({ length: 6 }, () => migrateNamespace({ server, scope, migrations })))
      const db = opened.drizzle(server.client(scope, open))
      expect(await booksOf(given(), db)).toEqual([])
      await server.destroy(scope)
    })
  })
}

async function newTenant(cell: Cell, opened: OpenCell, name: string): Promise<CellTenant> {
  const scope = scopeOf(cell)
  await migrateNamespace({ server: opened.server, scope, migrations: [migrationOf(opened.statements)] })
  return { name, scope, db: opened.drizzle(opened.server.client(scope, open)) }
}

/** The scope of a new tenant of this cell. */
export function scopeOf({ strategy }: Cell) {
  const id = randomUUID()
  return strategy.scope({ id, placement: strategy.place({ id, identifier: 'tenant', metadata: {} }) })
}

/** The statements as one migration. */
export function migrationOf(statements: readonly string[]): Migration {
  return { name: '0000_init', file: 'drizzle/0000_init.sql', hash: 'hash of 0000_init', createdAt: 1, statements }
}

async function seed({ model }: OpenCell, { db, name }: CellTenant): Promise<void> {
  await db.delete(model.books)
  await db.update(model.authors).set({ bossId: null })
  await db.delete(model.authors)
  await db.insert(model.authors).values([
    { id: 1, name: `Ada of ${name}` },
    { id: 2, name: `Ben of ${name}`, bossId: 1 },
  ])
  await db.insert(model.books).values(seededBooks(name))
}
