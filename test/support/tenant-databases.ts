import pg from 'pg'
import { rolesScript, type RolesScriptOptions } from '../../src/dialects/postgres/roles-script.ts'
import { createTestDatabase, type TestDatabase } from '../servers/database.ts'

/** A server on which tenants can have databases of their own. */
export interface DatabaseHost extends TestDatabase {
  /** What the product's own roles script was run in, for new databases to be copied from. */
  readonly template: string
  /** A URL of this host, leading to another of its databases. */
  readonly urlOf: (database: string, role?: 'super' | 'admin' | 'app') => string
  /** Runs statements as superuser in a database of this host. */
  readonly asSuperuserIn: <T>(database: string, work: (client: pg.Client) => Promise<T>) => Promise<T>
}

/** A main database and a template, each with the baseline; `drop` takes the tenants' databases along. */
export async function databaseHost(
  superuserUrl: string,
  rights: Pick<RolesScriptOptions, 'tenantRoles' | 'qualified'> = {},
): Promise<DatabaseHost> {
  const main = await createTestDatabase(superuserUrl)
  const template = `template_${main.database}`
  const urlOf: DatabaseHost['urlOf'] = (database, role = 'super') => {
    const url = new URL({ super: main.superUrl, admin: main.adminUrl, app: main.appUrl }[role])
    url.pathname = `/${database}`
    return url.href
  }
  const asSuperuserIn: DatabaseHost['asSuperuserIn'] = async (database, work) => {
    const client = new pg.Client({ connectionString: urlOf(database) })
    await client.connect()
    try {
      return await work(client)
    } finally {
      await client.end()
    }
  }
  const roles = { servingRole: main.appRole, adminRole: main.ownerRole }
  await asSuperuserIn(main.database, (client) =>
    client.query(rolesScript({ ...roles, database: main.database, tenantDatabases: true, ...rights })),
  )
  await asSuperuserIn('postgres', (client) => client.query(`create database ${template} is_template true`))
  await asSuperuserIn(template, (client) => client.query(rolesScript({ ...roles, database: template })))
  return {
    ...main,
    template,
    urlOf,
    asSuperuserIn,
    async drop() {
      await asSuperuserIn('postgres', async (client) => {
        const { rows } = await client.query<{ name: string }>(
          `select quote_ident(datname) as name from pg_database where datdba = (select oid from pg_roles where rolname = $1) and datname <> $2`,
          [main.ownerRole, main.database],
        )
        for (const { name } of rows) await client.query(`drop database ${name} with (force)`)
        await client.query(`alter database ${template} is_template false`)
        await client.query(`drop database ${template} with (force)`)
      })
      await main.drop()
    },
  }
}
