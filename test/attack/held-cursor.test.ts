import { sql } from 'drizzle-orm'
import Cursor from 'pg-cursor'
import { expect, it, onTestFinished } from 'vitest'
import { db, migrationsOf } from '../faults/fixture.ts'
import type { TestDatabase } from '../servers/database.ts'
import { describeWith } from '../servers/suite.ts'
import { tenantApp } from '../support/app.ts'
import { baselineDatabase } from '../support/database.ts'

const ORDERS = ['create table "orders" ("id" integer primary key, "owner" text not null)']

interface Held {
  query(cursor: Cursor): Cursor<{ id: number }>
  release(): void
}

/** A cursor is a database that is held, as a client is: each further `read()` is a statement to the server. */
describeWith(['postgres15'], 'a cursor that is held', ({ postgres15 }) => {
  const held = async () => {
    const database: TestDatabase = await baselineDatabase(postgres15.url)
    onTestFinished(() => database.drop())
    const migrations = await migrationsOf(ORDERS)
    const app = await tenantApp(database, { migrations })
    await app.ready()
    onTestFinished(() => app.close())
    for (const identifier of ['acme', 'globex']) {
      await app.tenancy.register({ identifier })
      await app.tenancy.run(identifier, () =>
        db().execute(sql`insert into orders select n, ${identifier} from generate_series(1, 10) n`),
      )
    }
    const cursor = await app.tenancy.run('acme', async () => {
      const client = (await (db() as unknown as { $client: { connect(): Promise<Held> } }).$client.connect()) as Held
      onTestFinished(() => client.release())
      const cursor = client.query(new Cursor('select id from orders order by id'))
      expect(await cursor.read(1)).toEqual([{ id: 1 }])
      return cursor
    })
    return { app, cursor }
  }

  it('sends nothing that would outlive it', async () => {
    const { app } = await held()
    for (const text of ['select id into temp report from orders', 'do $$ begin end $$', 'lock table orders']) {
      const refusal = await app.tenancy.run('acme', async () => {
        const client = await (db() as unknown as { $client: { connect(): Promise<Held> } }).$client.connect()
        try {
          return await client.query(new Cursor(text)).read(1)
        } catch (error) {
          return error
        } finally {
          client.release()
        }
      })
      expect(refusal, text).toMatchObject({ code: 'TENANCY_ERR_STATEMENT_REFUSED' })
    }
  })

  it('reads nothing in the context of another tenant', async () => {
    const { app, cursor } = await held()
    expect(await app.tenancy.run('globex', () => cursor.read(1).catch(() => []))).toEqual([])
  })
})
