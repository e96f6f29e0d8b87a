import { sql } from 'drizzle-orm'
import type { FastifyInstance } from 'fastify'
import pg from 'pg'
import { expect, it, onTestFinished } from 'vitest'
import { db, migrationsOf, until } from '../faults/fixture.ts'
import type { TenancyOptions } from '../../src/index.ts'
import type { TestDatabase } from '../servers/database.ts'
import { describeWith } from '../servers/suite.ts'
import { as, tenantApp } from '../support/app.ts'
import { asSuperuser, baselineDatabase } from '../support/database.ts'

const ORDERS = ['create table "orders" ("id" integer primary key, "owner" text not null)']
const SHARED_ORDERS = [
  'create table "orders" ("tenant_id" uuid not null, "id" integer not null, "owner" text not null, primary key ("tenant_id", "id"))',
]

/** What is left where nothing tells at once (MySQL, SQLite, a pooler in front): the window in which the other process does not know. */
const POLL = 'poll' as const

/** Two apps stand for two processes: they share nothing but the database. */
describeWith(['postgres15'], 'two processes over one registry', ({ postgres15 }) => {
  const fresh = async (): Promise<TestDatabase> => {
    const database = await baselineDatabase(postgres15.url)
    onTestFinished(() => database.drop())
    return database
  }
  const process = async (database: TestDatabase, options: TenancyOptions): Promise<FastifyInstance> => {
    const app = await tenantApp(database, options)
    app.get('/owners', async () => (await db().execute(sql`select owner from orders`)).rows)
    app.post('/orders', async () => void (await db().execute(sql`insert into orders (id, owner) values (7, 'late')`)))
    await app.ready()
    onTestFinished(() => app.close())
    return app
  }
  const owners = (app: FastifyInstance, tenant: string) => app.inject({ url: '/owners', headers: as(tenant) })

  it('an identifier that was given to another tenant never leads to the rows of the one before', async () => {
    const database = await fresh()
    const migrations = await migrationsOf(ORDERS)
    const options = { migrations, changeChannel: POLL }
    const [one, other] = [await process(database, options), await process(database, options)]
    await one.tenancy.register({ identifier: 'acme' })
    await one.tenancy.run('acme', () => db().execute(sql`insert into orders values (1, 'the old acme')`))
    expect((await owners(other, 'acme')).json()).toEqual([{ owner: 'the old acme' }])

    await one.tenancy.update('acme', { identifier: 'acme-old' })
    // The other process may go on serving the old one for as long as it has not heard: so nobody else gets the name.
    const taken = await one.tenancy.register({ identifier: 'acme' }).catch((error: unknown) => error)
    expect(taken).toMatchObject({ code: 'TENANCY_ERR_TENANT_EXISTS' })
    await one.tenancy.register({ identifier: 'globex' })
    await expect(one.tenancy.update('globex', { identifier: 'acme' })).rejects.toMatchObject({
      code: 'TENANCY_ERR_TENANT_EXISTS',
    })
    await one.tenancy.update('acme-old', { identifier: 'acme' })
    expect((await owners(other, 'acme')).json()).toEqual([{ owner: 'the old acme' }])
  })

  it('what is purged stays empty: a process that has not heard of it cannot write into it any more', async () => {
    const database = await fresh()
    const migrations = await migrationsOf(SHARED_ORDERS)
    const options = { migrations, isolationStrategy: 'rls', changeChannel: POLL } as const
    const [one, other] = [await process(database, options), await process(database, options)]
    await one.tenancy.register({ identifier: 'acme' })
    expect((await owners(other, 'acme')).statusCode).toBe(200)

    await one.tenancy.delete('acme')
    await one.tenancy.purge('acme')
    await other.inject({ method: 'POST', url: '/orders', headers: as('acme') })

    const left = await asSuperuser(
      database,
      async (client) => (await client.query('select owner from rls.orders')).rows,
    )
    expect(left).toEqual([])
  })

  it('a tenant that is purged while another process migrates it stays without a schema', async () => {
    const database = await fresh()
    const migrations = await migrationsOf(ORDERS)
    const [one, other] = [await process(database, { migrations }), await process(database, { migrations })]
    const busy = ['busy-1', 'busy-2', 'busy-3', 'busy-4', 'busy-5']
    const { placement } = await one.tenancy.ensure({ identifier: 'acme' })
    const holder = new pg.Client({ connectionString: database.superUrl })
    await holder.connect()
    onTestFinished(() => holder.end())
    // Five tenants whose migrations take long have all connections that the other process has for that.
    for (const identifier of busy) {
      const { placement: held } = await one.tenancy.ensure({ identifier })
      await holder.query('select pg_advisory_lock(hashtextextended($1, 0))', [`fastify-tenancy:${held.namespace}`])
    }
    const admin = () => other.tenancy.getMetrics().pools['admin']
    const migrating = busy.map((identifier) => other.tenancy.ensure({ identifier }))
    await until(async () => (await waitingForLocks(holder)) === 5)
    const late = other.tenancy.ensure({ identifier: 'acme' }).catch((error: unknown) => error)
    await until(async () => admin()?.waiting === 1)

    await one.tenancy.delete('acme')
    await one.tenancy.purge('acme')
    await holder.query('select pg_advisory_unlock_all()')
    await Promise.all([...migrating, late])

    expect((await one.tenancy.get('acme'))?.status).toBe('purged')
    const { rows } = await holder.query('select nspname from pg_namespace where nspname = $1', [placement.namespace])
    expect(rows).toEqual([])
  })
})

async function waitingForLocks(client: pg.Client): Promise<number> {
  const { rows } = await client.query<{ n: number }>(
    `select count(*)::int as n from pg_locks where locktype = 'advisory' and not granted
       and database = (select oid from pg_database where datname = current_database())`,
  )
  return rows[0]?.n ?? 0
}
