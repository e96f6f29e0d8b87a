import { readFile } from 'node:fs/promises'
import { sql } from 'drizzle-orm'
import { mysqlTable, serial } from 'drizzle-orm/mysql-core'
import Fastify from 'fastify'
import { expect, it, onTestFinished } from 'vitest'
import { tenancy } from '../../src/index.ts'
import { withPort } from '../servers/database.ts'
import { startProxy } from '../servers/proxy.ts'
import { describeWith } from '../servers/suite.ts'
import { tenantApp } from '../support/app.ts'
import { baselineDatabase } from '../support/database.ts'
import { mysqlDatabase } from '../support/mysql.ts'
import { db, itemsMigration, migrationsOf } from './fixture.ts'

/** The timer of a socket that asks for a sign of life; `/proc/net/tcp` in the kernel's Documentation/networking/proc_net_tcp.rst. */
const KEEP_ALIVE = '02'
const ESTABLISHED = '01'

/** What each connection to this port waits for, and for how many seconds yet. */
async function timersTo(port: number) {
  const [, ...lines] = (await readFile('/proc/net/tcp', 'utf8')).trim().split('\n')
  const sockets = lines.map((line) => line.trim().split(/\s+/))
  return sockets
    .filter(
      ([, , remote = '', state]) => state === ESTABLISHED && Number.parseInt(remote.split(':')[1] ?? '', 16) === port,
    )
    .map(([, , , , , timer = '']) => timer.split(':'))
    .map(([kind, ticks = '']) => ({ kind, seconds: Number.parseInt(ticks, 16) / 100 }))
}

describeWith(['postgres18'], 'idle connections to PostgreSQL', ({ postgres18 }) => {
  it('ask for a sign of life after 10 s, or a firewall would forget them', async () => {
    const database = await baselineDatabase(postgres18.url)
    onTestFinished(() => database.drop())
    const proxy = await startProxy({ target: postgres18.port })
    onTestFinished(() => proxy.stop())
    const [databaseUrl, adminDatabaseUrl] = [database.appUrl, database.adminUrl].map((url) => withPort(url, proxy.port))
    const migrations = await migrationsOf(itemsMigration)
    const app = await tenantApp(database, {
      databaseUrl,
      adminDatabaseUrl,
      migrations,
      changeChannel: 'poll',
    } as object)
    onTestFinished(() => app.close())
    await app.ready()
    await app.tenancy.register({ identifier: 'acme' })
    await app.tenancy.run('acme', () => db().execute(sql`select 1`))
    const timers = await timersTo(proxy.port)
    expect(timers.length).toBeGreaterThan(2)
    for (const { kind, seconds } of timers) expect([kind, seconds <= 10]).toEqual([KEEP_ALIVE, true])
  })
})

describeWith(['mariadb'], 'idle connections to MariaDB', ({ mariadb }) => {
  it('ask for a sign of life after 10 s, or a firewall would forget them', async () => {
    const database = await mysqlDatabase(mariadb.url)
    onTestFinished(() => database.drop())
    const proxy = await startProxy({ target: mariadb.port })
    onTestFinished(() => proxy.stop())
    const [databaseUrl, adminDatabaseUrl] = [database.url, database.adminUrl].map((url) => withPort(url, proxy.port))
    const app = Fastify()
    onTestFinished(() => app.close())
    const schema = { items: mysqlTable('items', { id: serial() }) }
    await app.register(tenancy, { databaseUrl, adminDatabaseUrl, schema } as object)
    await app.ready()
    await app.tenancy.get('acme')
    const timers = await timersTo(proxy.port)
    expect(timers.length).toBeGreaterThan(1)
    for (const { kind, seconds } of timers) expect([kind, seconds <= 10]).toEqual([KEEP_ALIVE, true])
  })
})
