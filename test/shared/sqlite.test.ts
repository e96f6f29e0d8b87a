import { eq } from 'drizzle-orm'
import type { LibSQLDatabase } from 'drizzle-orm/libsql'
import { afterEach, describe, expect, it } from 'vitest'
import { namespaceStrategy } from '../../src/isolation/namespace.ts'
import { migrateNamespace } from '../../src/migrations/runner.ts'
import { adoptTables, shareTables } from '../../src/sql/adopt.ts'
import { migrationOf } from '../matrix/suite.ts'
import { all, run, type SyncDb, syncOf } from '../matrix/synchronous.ts'
import { describeWith } from '../servers/suite.ts'
import { open, placedScope } from '../support/database.ts'
import { codeOf } from '../support/errors.ts'
import type { OpenSharedCell } from './cell.ts'
import { betterSqlite3SharedCell, sqliteSharedCell } from './sqlite-cells.ts'
import { migrateShared, sharedSuite } from './suite.ts'

describe('tables that all tenants share', () => sharedSuite(sqliteSharedCell))

describeWith(['better-sqlite3'], 'tables that all tenants share', () => {
  sharedSuite(betterSqlite3SharedCell)

  it('the admin connection writes what tenants only read, and nobody else does because of it', async () => {
    const { server, drizzle, model, sharedStatements, statements, close } = await betterSqlite3SharedCell.open()
    shareTables(model, ['plans', 'tags'], server.shared?.qualifier ?? '')
    adoptTables(model)
    await migrateShared(server, sharedStatements)
    const scope = placedScope(namespaceStrategy('prefix'))
    await migrateNamespace({ server, scope, migrations: [migrationOf(statements)] })
    const [admin, db] = [syncOf(drizzle(server.admin.client)), syncOf(drizzle(server.client(scope, open)))]
    const rename = (on: SyncDb, name: string) => run(on.update(model.plans).set({ name }).where(eq(model.plans.id, 2)))
    const refused = () => expect(() => rename(db, 'stolen')).toThrow()
    rename(admin, 'PRO')
    refused()
    admin.transaction((tx) => {
      run(tx.insert(model.plans).values({ id: 3, name: 'max' }))
      tx.transaction((inner) => run(inner.update(model.plans).set({ name: 'MAX' }).where(eq(model.plans.id, 3))))
      // Whose transaction it is not, sees no door.
      refused()
    })
    refused()
    expect(() =>
      admin.transaction((tx) => {
        run(tx.delete(model.plans))
        throw new Error('undo')
      }),
    ).toThrow('undo')
    refused()
    expect(all(db.select().from(model.plans)).map(({ name }) => name)).toEqual(['free', 'PRO', 'MAX'])
    await close()
  })
})

describe('shared tables of SQLite', () => {
  let opened: OpenSharedCell | undefined
  afterEach(async () => {
    await opened?.close()
    opened = undefined
  })
  const start = async (): Promise<OpenSharedCell> => {
    opened = await sqliteSharedCell.open()
    shareTables(opened.model, ['plans', 'tags'], opened.server.shared?.qualifier ?? '')
    adoptTables(opened.model)
    await migrateShared(opened.server, opened.sharedStatements)
    return opened
  }

  it('the admin connection writes what tenants only read, and nobody else does because of it', async () => {
    const { server, drizzle, model, statements } = await start()
    const scope = placedScope(namespaceStrategy('prefix'))
    await migrateNamespace({ server, scope, migrations: [migrationOf(statements)] })
    const [admin, db] = [drizzle(server.admin.client), drizzle(server.client(scope, open))]
    const write = () => db.update(model.plans).set({ name: 'stolen' }).execute()
    await admin.update(model.plans).set({ name: 'PRO' }).where(eq(model.plans.id, 2))
    await expect(write()).rejects.toThrow()
    await admin.transaction(async (tx) => {
      await tx.insert(model.plans).values({ id: 3, name: 'max' })
      await tx.transaction(async (inner) => inner.update(model.plans).set({ name: 'MAX' }).where(eq(model.plans.id, 3)))
    })
    await expect(write()).rejects.toThrow()
    const failed = admin.transaction(async (tx) => {
      await tx.delete(model.plans)
      throw new Error('undo')
    })
    await expect(failed).rejects.toThrow('undo')
    await expect(write()).rejects.toThrow()
    expect((await db.select().from(model.plans)).map(({ name }) => name)).toEqual(['free', 'PRO', 'MAX'])
    // Both at once: who comes first has the file, and the door is theirs alone.
    const results = await Promise.allSettled(
      Array.from({ length: 20 }, (_, i) =>
        i % 2 === 0 ? admin.update(model.plans).set({ name: 'FREE' }).where(eq(model.plans.id, 1)).execute() : write(),
      ),
    )
    expect(results.map(({ status }) => status)).toEqual(results.map((_, i) => (i % 2 === 0 ? 'fulfilled' : 'rejected')))
  })

  it('a start that finds everything right changes nothing, and one puts back what is gone', async () => {
    const { server, sharedStatements, asOwner } = await start()
    const version = async () => (await asOwner('select schema_version as v from pragma_schema_version'))[0]?.['v']
    const before = await version()
    await migrateShared(server, sharedStatements)
    expect(await version()).toBe(before)
    await asOwner('drop trigger "shared__plans__tenancy_no_delete"')
    await migrateShared(server, sharedStatements)
    const found = await asOwner(`select name from sqlite_schema where type = 'trigger' order by 1`)
    expect(found.map(({ name }) => name)).toEqual(
      ['delete', 'insert', 'update'].map((verb) => `shared__plans__tenancy_no_${verb}`),
    )
  })

  it('its own migrations change and rebuild what tenants only read', async () => {
    const { server, drizzle, model, sharedStatements } = await start()
    const rebuild = {
      ...migrationOf([
        'PRAGMA foreign_keys=OFF;',
        "CREATE TABLE `__new_plans` (`id` integer PRIMARY KEY NOT NULL, `name` text DEFAULT 'x' NOT NULL);",
        'INSERT INTO `__new_plans`("id", "name") SELECT "id", "name" FROM `plans`;',
        'DROP TABLE `plans`;',
        'ALTER TABLE `__new_plans` RENAME TO `plans`;',
        'PRAGMA foreign_keys=ON;',
        "UPDATE `plans` SET `name` = 'PRO' WHERE `id` = 2;",
      ]),
      name: '0001',
      hash: 'rebuild',
    }
    await migrateShared(server, sharedStatements, [rebuild])
    const db = drizzle(server.client(placedScope(namespaceStrategy('prefix')), open))
    expect((await db.select().from(model.plans)).map(({ name }) => name)).toEqual(['free', 'PRO'])
    await expect(db.delete(model.plans).execute()).rejects.toThrow()
  })

  it('a reference that cascades is found when its table becomes writable', async () => {
    const { server, sharedStatements, another } = await start()
    const planned =
      'CREATE TABLE `planned` (`id` integer, `plan_id` integer REFERENCES `plans`(`id`) ON DELETE CASCADE)'
    const scope = placedScope(namespaceStrategy('prefix'))
    await migrateNamespace({ server, scope, migrations: [migrationOf([planned])] })
    const writable = await another({ sharedTables: { writable: ['plans'] } })
    expect(await codeOf(() => migrateShared(writable, sharedStatements))).toBe('TENANCY_ERR_SHARED_TABLES')
    await writable.close()
  })

  it('a table that tenants had before it was shared is found by their next migration', async () => {
    const { server, another } = await start()
    const alone = await another({ sharedTables: { names: ['tags'] } })
    const scope = placedScope(namespaceStrategy('prefix'))
    await migrateNamespace({ server: alone, scope, migrations: [migrationOf(['CREATE TABLE Plans (id integer)'])] })
    await alone.close()
    expect(await codeOf(() => migrateNamespace({ server, scope, migrations: [] }))).toBe('TENANCY_ERR_SHARED_TABLES')
  })

  it('a tenant with a file of its own finds nothing by that name', async () => {
    const { server, drizzle, model } = await start()
    const scope = placedScope(namespaceStrategy('database'))
    await migrateNamespace({ server, scope, migrations: [migrationOf(['CREATE TABLE mine (id integer)'])] })
    const db = drizzle(server.client(scope, open)) as unknown as LibSQLDatabase
    await expect(
      db
        .select()
        .from(model.plans as never)
        .all(),
    ).rejects.toThrow()
  })
})
