import { randomUUID } from 'node:crypto'
import { asc, eq, sql } from 'drizzle-orm'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { DatabaseServer } from '../../src/contracts/dialect.ts'
import type { Scope } from '../../src/contracts/isolation.ts'
import type { Migration, MigrationReport } from '../../src/contracts/migrator.ts'
import type { SharedNamespace } from '../../src/contracts/shared-tables.ts'
import { migrateNamespace } from '../../src/migrations/runner.ts'
import { adoptTables, shareTables } from '../../src/sql/adopt.ts'
import type { Db, Runner } from '../matrix/cell.ts'
import { all, run, syncOf } from '../matrix/synchronous.ts'
import { open } from '../support/database.ts'
import { codeOf } from '../support/errors.ts'
import { type OpenSharedCell, type SharedCell, sharedTables } from './cell.ts'

interface Tenant {
  readonly scope: Scope
  readonly db: Db
}

/** Runs every case on one cell. */
export function sharedSuite(cell: SharedCell): void {
  describe(cell.name, () => {
    let opened: OpenSharedCell
    let a: Tenant
    let b: Tenant

    beforeAll(async () => {
      opened = await cell.open()
      const { plans, tags, subscriptions } = opened.model
      shareTables({ plans, tags, subscriptions }, ['plans', 'tags'], namespaceOf(opened.server).qualifier)
      adoptTables({ plans, tags, subscriptions })
      await migrateShared(opened.server, opened.sharedStatements)
      a = await newTenant()
      b = await newTenant()
    })
    afterAll(() => opened?.close())

    const scopeOf = () => {
      const id = randomUUID()
      return cell.strategy.scope({
        id,
        placement: cell.strategy.place({ id, identifier: 'tenant', metadata: {} }),
      })
    }
    const newTenant = async (server = opened.server): Promise<Tenant> => {
      const scope = scopeOf()
      await migrateNamespace({ server, scope, migrations: [migrationOf('0000_init', opened.statements)] })
      return { scope, db: opened.drizzle(server.client(scope, open)) }
    }
    const migrateMore = (scope: Scope, ...statements: readonly string[]) =>
      migrateNamespace({
        server: opened.server,
        scope,
        migrations: [migrationOf('0000_init', opened.statements), migrationOf(randomUUID(), statements)],
      })
    const plansOf = (db: Runner) => db.select().from(opened.model.plans).orderBy(asc(opened.model.plans.id))
    const seeded = [
      { id: 1, name: 'free' },
      { id: 2, name: 'pro' },
    ]

    /** A test that says why where it cannot be run. */
    const possibly = (title: string, work: () => Promise<void>) => {
      const reason = cell.skipped?.[title]
      if (reason === undefined) it(title, work)
      else it.skip(`${title} (NOT RUN: ${reason})`, () => {})
    }

    it('every tenant reads the same rows', async () => {
      for (const { db } of [a, b]) expect(await plansOf(db)).toEqual(seeded)
      const within = cell.synchronous
        ? syncOf(a.db).transaction((tx) => all(tx.select().from(opened.model.plans)))
        : await a.db.transaction((tx) => plansOf(tx))
      expect(within).toEqual(seeded)
      expect(await a.db.$count(opened.model.plans)).toBe(2)
    })

    possibly('joins a shared table with its own, and sees own rows only', async () => {
      const { plans, subscriptions } = opened.model
      await a.db.insert(subscriptions).values({ id: 1, planId: 1, note: 'of a' })
      await b.db.insert(subscriptions).values([
        { id: 1, planId: 2, note: 'of b' },
        { id: 2, planId: 2, note: 'of b' },
      ])
      const joined = (db: Db) =>
        db
          .select({ note: subscriptions.note, plan: plans.name })
          .from(subscriptions)
          .innerJoin(plans, eq(subscriptions.planId, plans.id))
      expect(await joined(a.db)).toEqual([{ note: 'of a', plan: 'free' }])
      expect(await joined(b.db)).toEqual([
        { note: 'of b', plan: 'pro' },
        { note: 'of b', plan: 'pro' },
      ])
      const whole = await a.db
        .select()
        .from(plans)
        .leftJoin(subscriptions, eq(subscriptions.planId, plans.id))
        .orderBy(plans.id)
      expect(whole.map((row) => [row.plans.name, row.subscriptions?.note])).toEqual([
        ['free', 'of a'],
        ['pro', undefined],
      ])
      const used = a.db.select({ id: subscriptions.planId }).from(subscriptions)
      expect(await a.db.select().from(plans).where(sql`${plans.id} in ${used}`)).toEqual([seeded[0]])
    })

    possibly('a foreign key to a shared table holds', async () => {
      const { subscriptions } = opened.model
      await expect(a.db.insert(subscriptions).values({ id: 9, planId: 99 }).execute()).rejects.toThrow()
      await a.db.insert(subscriptions).values({ id: 9, planId: 2 })
      await a.db.delete(subscriptions).where(eq(subscriptions.id, 9))
    })

    it('nobody writes a table that is to be read', async () => {
      const { plans } = opened.model
      const tries = [
        () => a.db.insert(plans).values({ id: 3, name: 'stolen' }).execute(),
        () => a.db.update(plans).set({ name: 'stolen' }).execute(),
        () => a.db.delete(plans).execute(),
        async () =>
          cell.synchronous
            ? syncOf(a.db).transaction((tx) => run(tx.delete(plans)))
            : a.db.transaction((tx) => tx.delete(plans)),
        ...cell.attacks.map((text) => () => opened.rows(a.db, sql.raw(text.replace('%s', cell.full('plans'))))),
      ]
      // It is answered with a warning.
      await opened.rows(a.db, sql.raw(`grant all on ${cell.full('plans')} to public`)).catch(() => {})
      for (const [i, attempt] of tries.entries()) {
        await expect(attempt(), `attempt ${i}`).rejects.toThrow()
        expect(await plansOf(b.db)).toEqual(seeded)
      }
    })

    it('what tenants may write all read, with ids of its own', async () => {
      const { tags } = opened.model
      await a.db.insert(tags).values({ label: 'first' })
      await b.db.insert(tags).values({ label: 'second' })
      await b.db.update(tags).set({ label: 'changed' }).where(eq(tags.label, 'first'))
      expect((await a.db.select({ label: tags.label }).from(tags)).map(({ label }) => label).sort()).toEqual([
        'changed',
        'second',
      ])
      await a.db.delete(tags)
      expect(await b.db.select().from(tags)).toEqual([])
      await expect(opened.rows(a.db, sql.raw(`truncate table ${cell.full('tags')}`))).rejects.toThrow()
    })

    it('a plain name is never a shared table', async () => {
      for (const text of ['select * from plans', 'select * from tags', 'delete from tags']) {
        await expect(opened.rows(a.db, sql.raw(text))).rejects.toThrow()
      }
    })

    it('what is not named is out of reach: the ledger, and tables beside', async () => {
      for (const name of ['__drizzle_migrations', 'internal']) {
        await expect(opened.rows(a.db, sql.raw(`select * from ${cell.full(name)}`)), name).rejects.toThrow()
        await expect(opened.rows(a.db, sql.raw(`delete from ${cell.full(name)}`)), name).rejects.toThrow()
      }
    })

    it.each([
      'CREATE TABLE plans (id integer)',
      'ALTER TABLE plans ADD COLUMN extra integer',
      'ALTER TABLE plans RENAME TO others',
      'DROP TABLE plans',
      'INSERT INTO plans (id, name) VALUES (7, 7)',
      'UPDATE plans SET name = 7',
      'DELETE FROM plans',
      'DELETE FROM tags',
      'CREATE VIEW v AS SELECT * FROM plans',
      'CREATE INDEX i ON plans (name)',
      `INSERT INTO subscriptions (id, plan_id) SELECT id, id FROM plans`,
    ])('a migration of a tenant does not touch it: %s', async (statement) => {
      expect(await codeOf(() => migrateMore(a.scope, statement))).toBe('TENANCY_ERR_MIGRATION_REFUSED')
    })

    it('a migration of a tenant does not name it by its full name either', async () => {
      for (const text of ['update %s set id = 7', 'drop table %s', 'delete from %s']) {
        expect(await codeOf(() => migrateMore(a.scope, text.replace('%s', cell.full('plans')))), text).toBeDefined()
        expect(await plansOf(b.db)).toEqual(seeded)
      }
    })

    it('no table of a tenant gets the name of a shared one by a rename', async () => {
      const statements = [opened.ownTable, opened.rename ?? 'ALTER TABLE mine RENAME TO plans']
      expect(await codeOf(() => migrateMore(scopeOf(), ...statements))).toMatch(
        /^TENANCY_ERR_(SHARED_TABLES|MIGRATION_REFUSED)$/,
      )
      expect(await plansOf(a.db)).toEqual(seeded)
    })

    it('a foreign key by which a tenant would change rows of others is refused', async () => {
      const scope = scopeOf()
      expect(await codeOf(() => migrateMore(scope, opened.cascading))).toMatch(
        /^TENANCY_ERR_(SHARED_TABLES|RLS_UNPROTECTABLE|MIGRATION_REFUSED)$/,
      )
    })

    it('the migrations of shared tables run once, whoever starts when', async () => {
      const servers = await Promise.all([opened.another(), opened.another(), opened.another()])
      try {
        const more = migrationOf('0001_more', ["INSERT INTO tags (label) VALUES ('seeded')"])
        const reports = await Promise.all(
          [opened.server, ...servers, ...servers].map((server) =>
            migrateShared(server, opened.sharedStatements, [more]),
          ),
        )
        expect(reports.map(({ applied }) => applied).flat()).toEqual(['0001_more'])
        expect(await a.db.$count(opened.model.tags)).toBe(1)
        await a.db.delete(opened.model.tags)
      } finally {
        await Promise.all(servers.map((server) => server.close()))
      }
    })

    it('several processes that make everything anew at once make it once', async () => {
      const fresh = await cell.open()
      const servers = await Promise.all([fresh.another(), fresh.another()])
      try {
        const reports = await Promise.all(
          [fresh.server, ...servers].map((server) => migrateShared(server, fresh.sharedStatements)),
        )
        expect(reports.filter(({ created }) => created)).toHaveLength(1)
        expect(reports.map(({ applied }) => applied.length).toSorted((x, y) => x - y)).toEqual([0, 0, 1])
      } finally {
        await Promise.all(servers.map((server) => server.close()))
        await fresh.close()
      }
    }, 60_000)

    possibly('tenants come and go at once while others read, and the rows stay', async () => {
      const made = await Promise.all([newTenant(), newTenant(), newTenant(), newTenant()])
      for (const { db } of made) await db.insert(opened.model.subscriptions).values({ id: 1, planId: 1 })
      let reads = 0
      const going = Promise.all([
        ...made.map(({ scope }) => opened.server.destroy(scope)),
        newTenant(),
        newTenant(),
        (async () => {
          for (; reads < 20; reads++) expect(await plansOf(b.db)).toEqual(seeded)
        })(),
      ])
      await going
      expect(await plansOf(a.db)).toEqual(seeded)
      expect(await opened.server.destroy((await newTenant()).scope)).toBeDefined()
      expect(await plansOf(a.db)).toEqual(seeded)
    })

    it('tenants of it are verified, and the server inspected, without a fault because of it', async () => {
      const report = await opened.server.verify(a.scope)
      expect(report.checks.filter(({ ok }) => !ok)).toEqual([])
      const before = JSON.stringify((await opened.server.inspect()) ?? null)
      expect(before).not.toContain('"plans"')
    })

    it('a migration that fails says where', async () => {
      const broken = migrationOf('0009_broken', ['INSERT INTO nowhere (id) VALUES (1)'])
      await expect(migrateShared(opened.server, opened.sharedStatements, [broken])).rejects.toMatchObject({
        code: 'TENANCY_ERR_MIGRATION_FAILED',
        message: expect.stringContaining('drizzle/0009_broken.sql failed at statement 1') as string,
      })
      expect(await plansOf(a.db)).toEqual(seeded)
    })

    it.each([
      [{ names: ['plans', 'tags', 'missing'] }, 'missing is not made'],
      [{ tenantColumn: 'label' }, 'tags has the column label'],
    ])('refuses to serve %o', async (change, reason) => {
      const server = await opened.another({ sharedTables: change })
      try {
        await expect(migrateShared(server, opened.sharedStatements)).rejects.toMatchObject({
          code: 'TENANCY_ERR_SHARED_TABLES',
          message: expect.stringContaining(reason) as string,
        })
      } finally {
        await server.close()
      }
    })

    possibly('a table that becomes writable, and one that is no longer', async () => {
      const { plans } = opened.model
      const server = await opened.another({ sharedTables: { writable: ['plans'] } })
      try {
        await migrateShared(server, opened.sharedStatements)
        await a.db.update(plans).set({ name: 'PRO' }).where(eq(plans.id, 2))
        await expect(a.db.insert(opened.model.tags).values({ label: 'no' }).execute()).rejects.toThrow()
        await a.db.update(plans).set({ name: 'pro' }).where(eq(plans.id, 2))
      } finally {
        await migrateShared(opened.server, opened.sharedStatements)
        await server.close()
      }
      await expect(a.db.update(plans).set({ name: 'x' }).execute()).rejects.toThrow()
      expect(await plansOf(b.db)).toEqual(seeded)
    })
  })
}

/** The shared namespace of a server that has one. */
export function namespaceOf({ shared }: DatabaseServer): SharedNamespace {
  if (shared === undefined) throw new Error('This server has no shared tables.')
  return shared
}

/** Runs the shared migrations as a start does. */
export function migrateShared(
  server: DatabaseServer,
  statements: readonly string[],
  more: readonly Migration[] = [],
): Promise<MigrationReport> {
  const shared = namespaceOf(server)
  return migrateNamespace({
    server: shared,
    scope: shared.scope,
    migrations: [migrationOf('0000_shared', statements), ...more],
  })
}

/** When each migration was made, by which a ledger knows it too. */
const times = new Map<string, number>()

function migrationOf(name: string, statements: readonly string[]): Migration {
  const createdAt = times.get(name) ?? times.size + 1
  times.set(name, createdAt)
  return { name, file: `drizzle/${name}.sql`, hash: `hash of ${name}`, createdAt, statements }
}

export { sharedTables }
