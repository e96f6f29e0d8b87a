import { setTimeout as sleep } from 'node:timers/promises'
import { sql } from 'drizzle-orm'
import pg from 'pg'
import { expect, it, onTestFinished } from 'vitest'
import { db, migrationsOf, until } from './fixture.ts'
import type { TestDatabase } from '../servers/database.ts'
import { describeWith } from '../servers/suite.ts'
import { as, tenantApp } from '../support/app.ts'
import { baselineDatabase } from '../support/database.ts'

const ORDERS = ['create table "orders" ("id" integer primary key)']

/** Migrations and the registry have five connections together: who waits for a lock must not keep everybody else from the registry. */
describeWith(['postgres15'], 'a tenant whose migration takes long', ({ postgres15 }) => {
  it('does not keep requests of other tenants from being resolved', async () => {
    const database: TestDatabase = await baselineDatabase(postgres15.url)
    onTestFinished(() => database.drop())
    const migrations = await migrationsOf(ORDERS)
    const app = await tenantApp(database, { migrations, databasePoolTimeout: 2 })
    app.get('/orders', async () => (await db().execute(sql`select * from orders`)).rows)
    await app.ready()
    onTestFinished(() => app.close())
    const { placement } = await app.tenancy.ensure({ identifier: 'acme' })

    // What holds the lock stands for a migration of acme that copies a large table, in whichever process.
    const migration = new pg.Client({ connectionString: database.superUrl })
    await migration.connect()
    onTestFinished(() => migration.end())
    await migration.query('select pg_advisory_lock(hashtextextended($1, 0))', [
      `fastify-tenancy:${placement.namespace}`,
    ])
    // `ensure()` when somebody signs in, five times.
    const waiting = Array.from({ length: 5 }, () => app.tenancy.ensure({ identifier: 'acme' }))
    await until(async () => {
      const { rows } = await migration.query<{ n: number }>(
        `select count(*)::int as n from pg_locks where locktype = 'advisory' and not granted
           and database = (select oid from pg_database where datname = current_database())`,
      )
      return rows[0]?.n === 5
    })

    // As cold as every tenant is once in 60 seconds: the registry is asked.
    const other = app.inject({ url: '/orders', headers: as('initech') }).then(({ statusCode }) => statusCode)
    const answer = await Promise.race([other, sleep(6000, 'none within three times databasePoolTimeout')])
    await migration.query('select pg_advisory_unlock_all()')
    await Promise.all([other, ...waiting])
    // The registry has no such tenant.
    expect(answer).toBe(400)
  })
})
