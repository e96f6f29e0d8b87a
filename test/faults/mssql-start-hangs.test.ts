import { setTimeout as sleep } from 'node:timers/promises'
import { int, mssqlTable } from 'drizzle-orm-v1/mssql-core'
import Fastify from 'fastify'
import { expect, it, onTestFinished } from 'vitest'
import { type TenancyOptions, tenancy } from '../../src/index.ts'
import { withPort } from '../servers/database.ts'
import { deafProxy } from '../servers/deaf-proxy.ts'
import { describeMssql, mssqlDatabase } from '../support/mssql.ts'
import { until } from './fixture.ts'

// A batch or a procedure; the batch of settings with which the driver begins is a part of the login.
const [BATCH, PROCEDURE] = [1, 3]
const LOGIN = Buffer.from('set ansi_nulls', 'utf16le')
const isQuery = (bytes: Buffer) => (bytes[0] === BATCH || bytes[0] === PROCEDURE) && !bytes.includes(LOGIN)

describeMssql('a SQL Server that takes logins and answers no query, at the start', (url) => {
  it('health() answers, and what hung serves when the database does', async () => {
    const database = await mssqlDatabase(url)
    onTestFinished(() => database.drop())
    const proxy = await deafProxy(Number(new URL(url).port || 1433), isQuery)
    const [databaseUrl, adminDatabaseUrl] = [database.url, database.adminUrl].map((way) => withPort(way, proxy.port))
    const app = Fastify({ pluginTimeout: 1500 })
    onTestFinished(() => app.close())
    const schema = { items: mssqlTable('items', { id: int() }) }
    await app.register(tenancy, { databaseUrl, adminDatabaseUrl, schema, closeTimeoutSeconds: 2 } as TenancyOptions)
    await expect(Promise.resolve(app.ready())).rejects.toMatchObject({ code: 'TENANCY_ERR_START_TIMEOUT' })
    expect(await Promise.race([app.tenancy.health().then(({ ok }) => ok), sleep(5000, 'hangs')])).toBe(false)
    proxy.deaf = false
    await until(async () => (await app.tenancy.health()).ok, 60)
    expect(await app.tenancy.get('acme')).toBeUndefined()
  }, 120_000)
})
