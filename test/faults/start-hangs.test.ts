import { setTimeout as sleep } from 'node:timers/promises'
import { mysqlTable, serial } from 'drizzle-orm/mysql-core'
import Fastify from 'fastify'
import { expect, it, onTestFinished } from 'vitest'
import { withPort } from '../servers/database.ts'
import { deafProxy } from '../servers/deaf-proxy.ts'
import { describeWith } from '../servers/suite.ts'
import { type TenancyOptions, tenancy } from '../../src/index.ts'
import { tenantApp } from '../support/app.ts'
import { until } from './fixture.ts'
import { asSuperuser, baselineDatabase } from '../support/database.ts'
import { asRoot, mysqlDatabase } from '../support/mysql.ts'

describeWith(['postgres15'], 'a database that takes logins and answers no query, at the start', ({ postgres15 }) => {
  it('health() answers, and what hung serves when the database does', async () => {
    const { app, proxy } = await hanging()
    onTestFinished(() => app.close())
    expect(await Promise.race([app.tenancy.health().then(({ ok }) => ok), sleep(5000, 'hangs')])).toBe(false)
    proxy.deaf = false
    await until(async () => (await app.tenancy.health()).ok)
    expect(await app.tenancy.get('acme')).toBeUndefined()
  }, 60_000)

  it('a start that failed and close() leave no connection', async () => {
    const { app, database } = await hanging()
    await app.close()
    const mine = 'select from pg_stat_activity where usename in ($1, $2)'
    await until(() =>
      asSuperuser(database, async (client) => {
        const { rowCount } = await client.query(mine, [database.appRole, database.ownerRole])
        return rowCount === 0
      }),
    )
  }, 60_000)

  async function hanging() {
    const database = await baselineDatabase(postgres15.url)
    onTestFinished(() => database.drop())
    const proxy = await deafProxy(postgres15.port, ([type]) => type === 0x51 || type === 0x50)
    const [databaseUrl, adminDatabaseUrl] = [database.appUrl, database.adminUrl].map((url) => withPort(url, proxy.port))
    const options = { databaseUrl, adminDatabaseUrl, closeTimeoutSeconds: 2 } as TenancyOptions
    const app = await tenantApp(database, options, { pluginTimeout: 1500 })
    await expect(Promise.resolve(app.ready())).rejects.toMatchObject({ code: 'TENANCY_ERR_START_TIMEOUT' })
    return { app, proxy, database }
  }
})

describeWith(['mariadb'], 'a MariaDB that takes logins and answers no query, at the start', ({ mariadb }) => {
  it('health() answers, what hung serves when the database does, and close() leaves no connection', async () => {
    const database = await mysqlDatabase(mariadb.url)
    onTestFinished(() => database.drop())
    // The first packet of an exchange; COM_QUERY or COM_STMT_PREPARE.
    const proxy = await deafProxy(
      mariadb.port,
      ([, , , turn, command]) => turn === 0 && (command === 3 || command === 22),
    )
    const [databaseUrl, adminDatabaseUrl] = [database.url, database.adminUrl].map((url) => withPort(url, proxy.port))
    const app = Fastify({ pluginTimeout: 1500 })
    onTestFinished(() => app.close())
    const schema = { items: mysqlTable('items', { id: serial() }) }
    await app.register(tenancy, { databaseUrl, adminDatabaseUrl, schema, closeTimeoutSeconds: 2 } as TenancyOptions)
    await expect(Promise.resolve(app.ready())).rejects.toMatchObject({ code: 'TENANCY_ERR_START_TIMEOUT' })
    expect(await Promise.race([app.tenancy.health().then(({ ok }) => ok), sleep(5000, 'hangs')])).toBe(false)
    proxy.deaf = false
    await until(async () => (await app.tenancy.health()).ok)
    expect(await app.tenancy.get('acme')).toBeUndefined()
    await app.close()
    const mine = `select id from information_schema.processlist where user in ('${database.servingUser}', '${database.adminUser}')`
    await until(async () => (await asRoot(database.superUrl, [mine])).length === 0)
  }, 60_000)
})
