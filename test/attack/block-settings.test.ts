import { sql } from 'drizzle-orm'
import { expect, it, onTestFinished } from 'vitest'
import { db, migrationsOf } from '../faults/fixture.ts'
import { describeWith } from '../servers/suite.ts'
import { tenantApp } from '../support/app.ts'
import { baselineDatabase } from '../support/database.ts'

/** docs/database.md: after `set` "our connection is destroyed, not given on"; what `do` leaves is not told. */
describeWith(['postgres15'], 'a SET inside a DO block', ({ postgres15 }) => {
  it('does not hold for the next tenant of the connection', async () => {
    const database = await baselineDatabase(postgres15.url)
    onTestFinished(() => database.drop())
    const migrations = await migrationsOf(['create table "orders" ("id" integer primary key)'])
    const app = await tenantApp(database, { migrations, databasePoolSize: 1, databaseMaxOverflow: 0 })
    await app.ready()
    onTestFinished(() => app.close())
    for (const identifier of ['acme', 'globex']) await app.tenancy.register({ identifier })
    const block = sql`do $$ begin set default_transaction_read_only = on; end $$`
    await app.tenancy.run('acme', () => db().execute(block))
    const insert = app.tenancy.run('globex', () => db().execute(sql`insert into orders values (1)`))
    expect(
      await insert.then(
        () => 'inserted',
        (error: Error) => (error.cause as Error).message,
      ),
    ).toBe('inserted')
  })

  it('is not run behind a pooler, whose session is not ours to end', async () => {
    const database = await baselineDatabase(postgres15.url)
    onTestFinished(() => database.drop())
    const app = await tenantApp(database, { pooler: 'transaction' })
    await app.ready()
    onTestFinished(() => app.close())
    await app.tenancy.register({ identifier: 'acme' })
    const block = app.tenancy.run('acme', () => db().execute(sql`do $$ begin end $$`))
    await expect(block).rejects.toMatchObject({ cause: { code: 'TENANCY_ERR_STATEMENT_REFUSED' } })
  })
})
