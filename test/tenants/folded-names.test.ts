import { randomBytes, randomUUID } from 'node:crypto'
import { expect, it } from 'vitest'
import type { AdminConnection } from '../../src/contracts/dialect.ts'
import { createLockingTenantStore, type RegistryTable } from '../../src/tenants/locking-store.ts'
import { mysqlRegistry } from '../../src/tenants/mysql-registry.ts'
import { sqliteRegistry } from '../../src/tenants/sqlite-registry.ts'
import { describeWith } from '../servers/suite.ts'
import { asRoot, mysqlDatabase, mysqlServer } from '../support/mysql.ts'
import { openSqlite } from '../support/sqlite.ts'

const TENANTS = 1203

/** Makes a registry as it was before names were folded, and expects that all of its tenants are found afterwards. */
async function upgrade(connection: AdminConnection, table: RegistryTable, ...undo: readonly string[]): Promise<void> {
  const open = () => createLockingTenantStore(connection, table)
  await open().initialize()
  await connection.query(`alter table ${table.name} drop column name_folded`)
  for (const text of undo) await connection.query(text)
  const now = '2026-01-01T00:00:00.000Z'
  const rows = Array.from({ length: TENANTS }, (_, n) => {
    const id = randomUUID()
    return [id, `t-${n}`, `Größe ${n} "\\'`, 'active', 'schema', 'main', `t${n}`, id, id, '{}', 1, now, now]
  })
  for (const values of rows) {
    await connection.query(
      `insert into ${table.name} (id, identifier, name, status, strategy, server, namespace, row_key, row_key_canonical,
        metadata, version, created_at, updated_at) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      values,
    )
  }
  await Promise.all([open().initialize(), open().initialize()])
  const store = open()
  for (const n of [0, 1000, TENANTS - 1]) {
    const { tenants } = await store.list({ search: `GRÖSSE ${n} "\\'` })
    expect(tenants).toMatchObject([{ name: `Größe ${n} "\\'`, version: 1, identifier: `t-${n}` }])
  }
  expect(await store.count()).toBe(TENANTS)
  const empty = await connection.query(`select 1 from ${table.name} where name_folded is null or name_folded = ''`)
  expect(empty).toEqual([])
}

describeWith(['mariadb'], 'an older registry on MariaDB', ({ mariadb }) => {
  it('lets its tenants be found after the upgrade, by whichever of two processes makes it', async () => {
    const database = await mysqlDatabase(mariadb.url)
    const server = mysqlServer(database)
    const name = `tenancy_${randomBytes(5).toString('hex')}`
    try {
      await server.open()
      await upgrade(server.admin, mysqlRegistry(name), `delete from ${name}.registry_migrations where step > 4`)
    } finally {
      await server.close()
      await asRoot(database.superUrl, [`drop database if exists ${name}`])
      await database.drop()
    }
  })
})

it('an older registry on SQLite lets its tenants be found after the upgrade', async () => {
  const file = await openSqlite()
  try {
    await upgrade(
      file.server.admin,
      sqliteRegistry,
      'delete from registry_migrations where step > 2',
      'alter table change_counter drop column incarnation',
      'drop table hot_tenants',
    )
  } finally {
    await file.close()
  }
})
