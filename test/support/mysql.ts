import { randomBytes } from 'node:crypto'
import mysql from 'mysql2/promise'
import type { DatabaseServer } from '../../src/contracts/dialect.ts'
import { createMysqlServer, type MysqlServerOptions } from '../../src/dialects/mysql/drivers/mysql-server.ts'

/** A place for tenants on a MySQL server: two accounts and the database of prefixed tables. */
export interface MysqlDatabase {
  readonly database: string
  readonly servingUser: string
  readonly adminUser: string
  readonly url: string
  readonly adminUrl: string
  /** As the server's superuser, without a database. */
  readonly superUrl: string
  /** Drops the database and both accounts; the databases of tenants go with the server. */
  readonly drop: () => Promise<void>
}

/** Makes accounts as the product wants them: the serving one without any right, the admin one for the tenants' databases. */
export async function mysqlDatabase(superuserUrl: string): Promise<MysqlDatabase> {
  const suffix = randomBytes(5).toString('hex')
  const [database, servingUser, adminUser] = [`shared_${suffix}`, `app_${suffix}`, `admin_${suffix}`] as const
  const shared = `\`shared\\_${suffix}\``
  const withUser = (user: string, path: string) => {
    const url = new URL(superuserUrl)
    url.username = user
    url.password = user === 'root' ? '' : encodeURIComponent('p@ss:/?#%')
    url.pathname = path
    return url.href
  }
  const superUrl = withUser('root', '/')
  await asRoot(superUrl, [
    `create database ${database} character set utf8mb4`,
    `create user ${servingUser}@'%' identified by 'p@ss:/?#%'`,
    `create user ${adminUser}@'%' identified by 'p@ss:/?#%'`,
    // Every tenant's database begins with t.
    `grant all on \`t%\`.* to ${adminUser}@'%' with grant option`,
    `grant all on ${shared}.* to ${adminUser}@'%' with grant option`,
  ])
  return {
    database,
    servingUser,
    adminUser,
    url: withUser(servingUser, `/${database}`),
    adminUrl: withUser(adminUser, `/${database}`),
    superUrl,
    drop: async () => {
      await asRoot(superUrl, [
        `drop database if exists ${database}`,
        `drop user if exists ${servingUser}@'%', ${adminUser}@'%'`,
      ])
    },
  }
}

/** A server of ours on this database. */
export function mysqlServer(database: MysqlDatabase, options: Partial<MysqlServerOptions> = {}): DatabaseServer {
  return createMysqlServer({
    url: database.url,
    adminUrl: database.adminUrl,
    poolSize: 5,
    maxOverflow: 0,
    poolTimeout: 10,
    poolRecycle: 3600,
    registrySchema: 'tenancy',
    strategies: ['schema', 'database', 'prefix'],
    onStatement: undefined,
    ...options,
  })
}

/** One statement after the other as the superuser; gives the rows of the last. */
export async function asRoot<TRow>(superUrl: string, statements: readonly string[]): Promise<TRow[]> {
  const connection = await mysql.createConnection(superUrl)
  try {
    let rows: unknown = []
    for (const statement of statements) [rows] = await connection.query(statement)
    return rows as TRow[]
  } finally {
    await connection.end()
  }
}
