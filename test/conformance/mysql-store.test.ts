import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, expect, it } from 'vitest'
import type { DatabaseServer } from '../../src/contracts/dialect.ts'
import { createLockingTenantStore } from '../../src/tenants/locking-store.ts'
import { mysqlRegistry } from '../../src/tenants/mysql-registry.ts'
import { describeWith } from '../servers/suite.ts'
import { asRoot, type MysqlDatabase, mysqlDatabase, mysqlServer } from '../support/mysql.ts'
import { describeTenantStore } from './store.ts'

describeWith(['mariadb'], 'the registry on MariaDB', ({ mariadb }) => {
  let database: MysqlDatabase
  let server: DatabaseServer
  beforeAll(async () => {
    database = await mysqlDatabase(mariadb.url)
    server = mysqlServer(database)
    await server.open()
  })
  afterAll(async () => {
    await server.close()
    await database.drop()
  })

  describeTenantStore('MariaDB', async () => {
    const name = `tenancy \`q\` ${randomBytes(5).toString('hex')}`
    return {
      open: () => createLockingTenantStore(server.admin, mysqlRegistry(name)),
      drop: async () =>
        void (await asRoot(database.superUrl, [`drop database if exists \`${name.replaceAll('`', '``')}\``])),
    }
  })

  it('refuses a database of the server', () => {
    for (const name of ['mysql', 'SYS', 'information_schema']) {
      expect(() => mysqlRegistry(name)).toThrow(/of the server itself/)
    }
  })
})
