import { sql } from 'drizzle-orm'
import pg from 'pg'
import { expect, it, onTestFinished } from 'vitest'
import type { TenancyOptions } from '../../src/index.ts'
import { db, migrationsOf, until } from '../faults/fixture.ts'
import type { TestDatabase } from '../servers/database.ts'
import { describeWith } from '../servers/suite.ts'
import { as, tenantApp } from '../support/app.ts'
import { baselineDatabase } from '../support/database.ts'

const ORDERS =
  'create table "orders" ("tenant_id" integer not null, "id" integer not null, "owner" text not null, primary key ("tenant_id", "id"))'

/** A registration under way waits here for its turn in the shared schema, as it does for any migration. */
describeWith(['postgres15'], 'a tenant that is half made', ({ postgres15 }) => {
  const fresh = async () => {
    const database: TestDatabase = await baselineDatabase(postgres15.url)
    onTestFinished(() => database.drop())
    const holder = new pg.Client({ connectionString: database.superUrl })
    await holder.connect()
    onTestFinished(() => holder.end())
    const serve = async (options: TenancyOptions) => {
      const app = await tenantApp(database, { isolationStrategy: 'rls', ...options })
      app.get('/owners', async () => (await db().execute(sql`select owner from orders`)).rows)
      await app.ready()
      onTestFinished(() => app.close())
      return app
    }
    const lock = 'hashtextextended($1, 0)'
    const name = ['fastify-tenancy:rls']
    return {
      serve,
      hold: () => holder.query(`select pg_advisory_lock(${lock})`, name),
      /** Holds the lock as soon as those are done that wait for it now. */
      async holdNext() {
        const later = new pg.Client({ connectionString: database.superUrl })
        await later.connect()
        onTestFinished(() => later.end())
        await later.query(`select pg_advisory_lock(${lock})`, name)
        return () => later.query('select pg_advisory_unlock_all()')
      },
      letGo: () => holder.query(`select pg_advisory_unlock(${lock})`, name),
      waiting: (many: number) =>
        until(async () => {
          const { rows } = await holder.query<{ n: number }>(
            `select count(*)::int as n from pg_locks where locktype = 'advisory' and not granted
               and database = (select oid from pg_database where datname = current_database())`,
          )
          return rows[0]?.n === many
        }),
    }
  }

  it('is not served by activate(): whether its row key is its own is not known yet', async () => {
    const { serve, hold, letGo, waiting } = await fresh()
    const migrations = await migrationsOf([ORDERS])
    const one = await serve({ migrations, registrySchema: 'registry_one' })
    const two = await serve({ migrations, registrySchema: 'registry_two' })
    await one.tenancy.register({ identifier: 'acme', rowKey: '42' })
    await one.tenancy.run('acme', () => db().execute(sql`insert into orders (id, owner) values (1, 'acme')`))

    await hold()
    const registering = two.tenancy.register({ identifier: 'globex', rowKey: '42' }).catch((error: unknown) => error)
    await waiting(1)
    await two.tenancy.activate('globex').catch(() => undefined)
    await letGo()
    expect(await registering).toMatchObject({ code: 'TENANCY_ERR_TENANT_EXISTS' })

    const answer = await two.inject({ url: '/owners', headers: as('globex') })
    expect(answer.statusCode === 200 ? answer.json() : []).toEqual([])
  })

  it('stays suspended when it was suspended before the last of those who made it was done', async () => {
    const { serve, hold, letGo, waiting, holdNext } = await fresh()
    const migrations = await migrationsOf([ORDERS])
    const [one, two] = [await serve({ migrations }), await serve({ migrations })]
    await one.tenancy.ensure({ identifier: 'first', rowKey: '1' })

    await hold()
    const registering = one.tenancy.register({ identifier: 'acme', rowKey: '42' })
    await waiting(1)
    const next = holdNext()
    await waiting(2)
    const ensuring = two.tenancy.ensure({ identifier: 'acme', rowKey: '42' })
    await waiting(3)
    await letGo()
    expect((await registering).status).toBe('active')
    await one.tenancy.suspend('acme')
    await next.then((release) => release())
    await ensuring

    expect((await two.tenancy.get('acme'))?.status).toBe('suspended')
    expect((await two.inject({ url: '/owners', headers: as('acme') })).statusCode).toBe(403)
  })
})
