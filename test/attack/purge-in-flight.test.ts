import { setTimeout as sleep } from 'node:timers/promises'
import { sql } from 'drizzle-orm'
import type { FastifyInstance } from 'fastify'
import pg from 'pg'
import { expect, it, onTestFinished, vi } from 'vitest'
import { db, gate, migrationsOf, running } from '../faults/fixture.ts'
import type { TestDatabase } from '../servers/database.ts'
import { describeWith } from '../servers/suite.ts'
import { tenantApp } from '../support/app.ts'
import { asSuperuser, baselineDatabase } from '../support/database.ts'

const ORDERS =
  'create table "orders" ("tenant_id" uuid not null, "id" integer not null, primary key ("tenant_id", "id"))'

/** Ways of one statement that sleeps and then writes. */
const statements = {
  'with the lock of its table from the beginning':
    'with slow as materialized (select pg_sleep(2)) insert into orders (id) select 1 from slow',
  'without any lock before it writes': 'do $$ begin perform pg_sleep(3); insert into orders (id) values (1); end $$',
}

/** docs/isolation.md: `purge()` removes exactly its rows, "verifies that nothing is left". One process, no cache in between. */
describeWith(['postgres15'], 'purge() under row policies', ({ postgres15 }) => {
  const world = async (): Promise<{ database: TestDatabase; app: FastifyInstance; left: () => Promise<unknown[]> }> => {
    const database = await baselineDatabase(postgres15.url)
    onTestFinished(() => database.drop())
    const app = await tenantApp(database, { migrations: await migrationsOf([ORDERS]), isolationStrategy: 'rls' })
    await app.ready()
    onTestFinished(() => app.close())
    for (const identifier of ['acme', 'beta']) await app.tenancy.register({ identifier })
    const left = () =>
      asSuperuser(database, async (client) => (await client.query('select id from rls.orders')).rows as unknown[])
    return { database, app, left }
  }

  it.each(Object.entries(statements))(
    'leaves nothing of a statement that was under way when the tenant was deleted, %s',
    async (_way, statement) => {
      const { database, app, left } = await world()
      const insert = app.tenancy.run('acme', () => db().execute(sql.raw(statement)))
      await running(database, 'pg_sleep')
      await app.tenancy.delete('acme')
      await app.tenancy.purge('acme')
      await insert.catch(() => undefined)
      expect(await left()).toEqual([])
    },
  )

  it('waits for no transaction that began later, nor for one of another database', async () => {
    const { app, database } = await world()
    const other = await baselineDatabase(postgres15.url)
    onTestFinished(() => other.drop())
    const elsewhere = new pg.Client({ connectionString: other.adminUrl })
    await elsewhere.connect()
    onTestFinished(() => elsewhere.end())
    await elsewhere.query('begin')
    await app.tenancy.delete('acme')
    // One after the other, so there is one at every moment.
    let going = true
    const busy = app.tenancy.run('beta', async () => {
      for (let n = 0; n < 30; n++) await db().execute(sql`select pg_sleep(0.3)`)
      going = false
    })
    await running(database, 'pg_sleep')
    await app.tenancy.purge('acme')
    expect(going).toBe(true)
    await busy
  })

  it('fails with a code while a transaction goes on for too long, and succeeds when that has ended', async () => {
    const { app, left } = await world()
    const [begun, over] = [gate(), gate()]
    const long = app.tenancy.run('beta', () =>
      db().transaction(async (transaction) => {
        await transaction.execute(sql`select 1`)
        begun.open()
        await over.passed
      }),
    )
    await begun.passed
    await app.tenancy.delete('acme')
    const now = performance.now.bind(performance)
    const clock = vi.spyOn(performance, 'now').mockImplementation(now)
    onTestFinished(() => clock.mockRestore())
    const purge = app.tenancy.purge('acme').catch((error: unknown) => error)
    await sleep(1500)
    clock.mockImplementation(() => now() + 31_000)
    expect(await purge).toMatchObject({ code: 'TENANCY_ERR_DESTROY_INCOMPLETE' })
    clock.mockImplementation(now)
    over.open()
    await long
    await app.tenancy.purge('acme')
    expect(await left()).toEqual([])
  })

  it('fails with a code where it cannot be told who writes', async () => {
    const { app, database } = await world()
    await app.tenancy.delete('acme')
    const admin = `pg_catalog.pg_stat_activity from ${database.ownerRole}, public`
    await asSuperuser(database, (client) => client.query(`revoke select on ${admin}`))
    await expect(app.tenancy.purge('acme')).rejects.toMatchObject({
      code: 'TENANCY_ERR_DESTROY_INCOMPLETE',
      message: expect.stringContaining('pg_stat_activity') as string,
    })
    await asSuperuser(database, (client) =>
      client.query(`grant select on pg_catalog.pg_stat_activity to ${database.ownerRole}`),
    )
    expect(await app.tenancy.purge('acme')).toEqual({ objects: 0, rows: 0 })
  })
})
