import { setTimeout as sleep } from 'node:timers/promises'
import { sql } from 'drizzle-orm'
import { expect, it, onTestFinished } from 'vitest'
import { db, gate, migrationsOf } from '../faults/fixture.ts'
import { describeWith } from '../servers/suite.ts'
import { tenantApp } from '../support/app.ts'
import { baselineDatabase } from '../support/database.ts'

const ORDERS =
  'create table "orders" ("tenant_id" uuid not null, "id" integer not null, primary key ("tenant_id", "id"))'

/** TRUNCATE is taken from the serving role because it knows no policies; LOCK TABLE knows none either, and comes with UPDATE. */
describeWith(['postgres15'], 'LOCK TABLE under row policies', ({ postgres15 }) => {
  it('of one tenant does not stop the reads of another', async () => {
    const database = await baselineDatabase(postgres15.url)
    onTestFinished(() => database.drop())
    const app = await tenantApp(database, { migrations: await migrationsOf([ORDERS]), isolationStrategy: 'rls' })
    await app.ready()
    onTestFinished(() => app.close())
    for (const identifier of ['acme', 'globex']) await app.tenancy.register({ identifier })
    const [locked, over] = [gate(), gate()]
    const holding = app.tenancy.run('acme', () =>
      db().transaction(async (tx) => {
        await tx.execute(sql`lock table orders`).finally(locked.open)
        await over.passed
      }),
    )
    // Refused, it fails before anybody waits for it.
    holding.catch(() => {})
    await locked.passed
    const read = app.tenancy.run('globex', () => db().execute(sql`select id from orders`)).then(({ rows }) => rows)
    const answer = await Promise.race([read, sleep(3000, 'still waiting')])
    over.open()
    await Promise.allSettled([holding, read])
    expect(answer).toEqual([])
  })
})
