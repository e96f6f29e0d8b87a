import { randomBytes } from 'node:crypto'
import { PGlite } from '@electric-sql/pglite'
import { drizzle } from 'drizzle-orm/node-postgres'
import { drizzle as drizzlePglite } from 'drizzle-orm/pglite'
import { Pool } from 'pg'
import { afterAll, beforeAll } from 'vitest'
import type { AdminConnection, DatabaseServer } from '../../src/contracts/dialect.ts'
import type { TenantStore } from '../../src/contracts/store.ts'
import { createCipher } from '../../src/encryption/cipher.ts'
import { createDrizzlePostgresTenantStore } from '../../src/tenants/drizzle-postgres-store.ts'
import { createEncryptingTenantStore } from '../../src/tenants/encrypting-store.ts'
import { createSecretFields } from '../../src/tenants/secret-fields.ts'
import { createLockingTenantStore } from '../../src/tenants/locking-store.ts'
import { createMemoryTenantStore } from '../../src/tenants/memory-store.ts'
import { mssqlRegistry } from '../../src/tenants/mssql-registry.ts'
import { mysqlRegistry } from '../../src/tenants/mysql-registry.ts'
import { sqliteRegistry } from '../../src/tenants/sqlite-registry.ts'
import { describeWith } from '../servers/suite.ts'
import { describeMssql, type MssqlDatabase, mssqlDatabase, mssqlServer } from '../support/mssql.ts'
import { asRoot, type MysqlDatabase, mysqlDatabase, mysqlServer } from '../support/mysql.ts'
import { openSqlite } from '../support/sqlite.ts'
import { dropSchema, pgAdmin, pgliteAdmin, uniqueSchema } from './registry-store-fixtures.ts'
import { describeSecrets, newKey, type SecretsFixture } from './secrets.ts'
import { describeTenantStore } from './store.ts'

const encrypting = (store: TenantStore) =>
  createEncryptingTenantStore({
    store,
    secrets: createSecretFields(createCipher({ current: newKey('k1'), allowPlaintext: false }), '_enc_'),
  })

/** The way to the column: `id` and `metadata` are the parameters as this database writes them. */
function columnOf(admin: AdminConnection, table: string, [first, second]: readonly [string, string]) {
  return {
    column: async (id: string) => {
      const [row] = await admin.query<{ metadata: unknown }>(`select metadata from ${table} where id = ${first}`, [id])
      return typeof row?.metadata === 'string' ? row.metadata : JSON.stringify(row?.metadata)
    },
    overwrite: async (id: string, metadata: object) =>
      void (await admin.query(`update ${table} set metadata = ${first} where id = ${second}`, [
        JSON.stringify(metadata),
        id,
      ])),
  }
}

describeTenantStore('encrypted memory', async () => {
  const store = createMemoryTenantStore()
  return { open: () => encrypting(store), drop: async () => {} }
})

describeWith(['postgres15'], 'encryption on PostgreSQL', ({ postgres15 }) => {
  let pool: Pool
  beforeAll(() => {
    pool = new Pool({ connectionString: postgres15.url, max: 10 })
  })
  afterAll(() => pool.end())
  const open = (schema: string) =>
    createDrizzlePostgresTenantStore({
      admin: pgAdmin(pool),
      drizzle: (client) => drizzle({ client: client as Pool }),
      schema,
    })
  const quoted = (schema: string) => `"${schema.replaceAll('"', '""')}".tenants`

  describeTenantStore('encrypted PostgreSQL', async () => {
    const schema = uniqueSchema()
    return { open: () => encrypting(open(schema)), drop: () => dropSchema(pgAdmin(pool), schema) }
  })

  describeSecrets('PostgreSQL', async () => {
    const schema = uniqueSchema()
    const access = columnOf(pgAdmin(pool), quoted(schema), ['$1', '$2'])
    return { store: open(schema), ...access, drop: () => dropSchema(pgAdmin(pool), schema) }
  })
})

describeSecrets('PGlite', async (): Promise<SecretsFixture> => {
  const pglite = await PGlite.create()
  const admin = pgliteAdmin(pglite)
  const store = createDrizzlePostgresTenantStore({
    admin,
    drizzle: (client) => drizzlePglite({ client: client as PGlite }),
  })
  return { store, ...columnOf(admin, 'tenancy.tenants', ['$1', '$2']), drop: () => pglite.close() }
})

describeWith(['mariadb'], 'encryption on MariaDB', ({ mariadb }) => {
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

  describeSecrets('MariaDB', async () => {
    const name = `tenancy_${randomBytes(5).toString('hex')}`
    return {
      store: createLockingTenantStore(server.admin, mysqlRegistry(name)),
      ...columnOf(server.admin, `${name}.tenants`, ['?', '?']),
      drop: async () => void (await asRoot(database.superUrl, [`drop database if exists ${name}`])),
    }
  })
})

describeMssql('encryption on SQL Server', (url) => {
  let database: MssqlDatabase
  let server: DatabaseServer
  beforeAll(async () => {
    database = await mssqlDatabase(url)
    server = mssqlServer(database, { poolTimeout: 60 })
    await server.open()
  })
  afterAll(async () => {
    await server?.close()
    await database?.drop()
  })
  const open = (name: string) => createLockingTenantStore(server.registry.connection, mssqlRegistry(name))
  const uniqueName = () => `tenancy_${randomBytes(5).toString('hex')}`

  describeTenantStore('encrypted SQL Server', async () => {
    const name = uniqueName()
    return { open: () => encrypting(open(name)), drop: async () => {} }
  })

  describeSecrets('SQL Server', async () => {
    const name = uniqueName()
    const access = columnOf(server.registry.connection, `[${name}].tenants`, ['@p0', '@p1'])
    return { store: open(name), ...access, drop: async () => {} }
  })
})

describeSecrets('SQLite', async () => {
  const file = await openSqlite()
  const { admin } = file.server
  const store = createLockingTenantStore(admin, sqliteRegistry)
  return { store, ...columnOf(admin, 'tenants', ['?', '?']), drop: () => file.close() }
})
