import { sql } from 'drizzle-orm'
import { expect, it, onTestFinished } from 'vitest'
import { db, migrationsOf, running } from '../faults/fixture.ts'
import { describeWith } from '../servers/suite.ts'
import { tenantApp } from '../support/app.ts'
import { asSuperuser, baselineDatabase } from '../support/database.ts'

const ORDERS =
  'create table "orders" ("tenant_id" uuid not null, "id" integer not null, primary key ("tenant_id", "id"))'

/** docs/isolation.md: `purge()` removes exactly its rows, "verifies that nothing is left". One process, no cache in between. */
describeWith(['postgres15'], 'purge() under row policies', ({ postgres15 }) => {
  it('leaves nothing of a statement that was under way when the tenant was deleted', async () => {
    const database = await baselineDatabase(postgres15.url)
    onTestFinished(() => database.drop())
    const app = await tenantApp(database, { migrations: await migrationsOf([ORDERS]), isolationStrategy: 'rls' })
    await app.ready()
    onTestFinished(() => app.close())
    await app.tenancy.register({ identifier: 'acme' })
    const insert = app.tenancy.run('acme', () =>
      db().execute(sql`with slow as materialized (select pg_sleep(2)) insert into orders (id) select 1 from slow`),
    )
    await running(database, 'pg_sleep')
    await app.tenancy.delete('acme')
    await app.tenancy.purge('acme')
    await insert.catch(() => undefined)
    const left = await asSuperuser(database, async (client) => (await client.query('select id from rls.orders')).rows)
    expect(left).toEqual([])
  })
})
