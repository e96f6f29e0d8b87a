import { sql } from 'drizzle-orm'
import { integer, pgTable, text } from 'drizzle-orm/pg-core'
import { drizzle } from 'drizzle-orm/pglite'
import Fastify, { type FastifyInstance } from 'fastify'
import { describe, expect, it, onTestFinished } from 'vitest'
import { tenancy, type TenancyOptions } from '../../src/index.ts'
import { codeOf } from '../support/errors.ts'
import { add, db, itemsMigration, migrationsOf, namesIn } from '../faults/fixture.ts'

const items = pgTable('items', { id: integer('id').primaryKey(), name: text('name') })

async function embedded(options: TenancyOptions, ...migrations: string[][]): Promise<FastifyInstance> {
  const app = Fastify({ pluginTimeout: 120_000 })
  onTestFinished(() => app.close())
  await app.register(tenancy, {
    databaseUrl: 'pglite:memory',
    migrations: await migrationsOf(itemsMigration, ...migrations),
    drizzle: (client) => drizzle({ client }),
    ...options,
  })
  return app
}

describe('the one session of PGlite', () => {
  const variants: Readonly<Record<string, TenancyOptions>> = {
    schema: {},
    'schema, qualified': { schemaScoping: 'qualified', schema: { items } },
    prefix: { isolationStrategy: 'prefix', schema: { items } },
  }
  it.each(Object.entries(variants))('keeps nothing of a tenant that another one meets: %s', async (_name, options) => {
    const app = await embedded(options)
    for (const identifier of ['acme', 'globex']) await app.tenancy.register({ identifier })
    const one = async (tenant: string, query: string) =>
      (await app.tenancy.run(tenant, () => db().execute(sql.raw(query)))).rows[0]
    const zone = await one('globex', `select current_setting('timezone') as zone`)
    // By a name that no reader of the text knows.
    await one('acme', `select U&"set\\005fconfig"('timezone', 'Asia/Tokyo', false), pg_advisory_lock(5)`)
    expect(await one('acme', `select current_setting('timezone') as zone`)).toEqual({ zone: 'Asia/Tokyo' })
    expect(await one('globex', `select current_setting('timezone') as zone`)).toEqual(zone)
    await one('acme', 'select pg_advisory_lock(5)')
    expect(await one('globex', 'select pg_advisory_unlock(5) as unlocked')).toEqual({ unlocked: false })
    const { rows } = await app.tenancy.run('acme', () => db().execute(sql`select 1 as one`))
    expect(rows).toEqual([{ one: 1 }])
  })

  it('runs no statement whose scope cannot be set, alone or in a transaction', async () => {
    const app = await embedded({ tenantRoles: true })
    const { placement } = await app.tenancy.register({ identifier: 'acme' })
    const admin = (await app.tenancy.adminDb()) as ReturnType<typeof db>
    const rename = (from: string, to: string) => admin.execute(sql.raw(`alter role ${from} rename to ${to}`))
    await rename(placement.namespace, 'gone')
    const alone = () => app.tenancy.run('acme', () => add('never'))
    const inTransaction = () => app.tenancy.run('acme', () => db().transaction((tx) => add('never', tx)))
    for (const adding of [alone, inTransaction, alone]) expect(await codeOf(adding)).toBe('22023')
    await rename('gone', placement.namespace)
    await app.tenancy.run('acme', () => add('kept'))
    expect(await namesIn(app)).toEqual(['kept'])
  })

  it('that stops at the end of a statement has not done it', async () => {
    const app = await embedded({}, [
      `create function stop() returns trigger language plpgsql as $$ begin
        perform (repeat('[', 1000000) || repeat(']', 1000000))::json;
        return null;
      end $$`,
      'create constraint trigger stops after insert on items deferrable initially deferred for each row execute function stop()',
    ])
    await app.tenancy.register({ identifier: 'acme' })
    const adding = () => app.tenancy.run('acme', () => add('never'))
    for (let i = 0; i < 2; i++) expect(await codeOf(adding)).toBe('TENANCY_ERR_DATABASE_UNAVAILABLE')
  })

  it('that stops in the middle of a migration has not run it', async () => {
    const app = await embedded({}, [
      `insert into items (name) values ('before');
      insert into items (name) select 'never' where (repeat('[', 1000000) || repeat(']', 1000000))::json is not null;
      insert into items (name) values ('behind')`,
    ])
    expect(await codeOf(() => app.tenancy.register({ identifier: 'acme' }))).toBe('TENANCY_ERR_DATABASE_UNAVAILABLE')
  })

  it('takes no COPY from `adminDb()` either, and no timeout that it cannot end', async () => {
    const app = await embedded({})
    await app.tenancy.register({ identifier: 'acme' })
    const admin = (await app.tenancy.adminDb()) as ReturnType<typeof db>
    for (const on of [admin, undefined]) {
      const copy = sql.raw(`/* */ copy (select 1) to '/dev/blob'`)
      const copying = () => (on ? on.execute(copy) : admin.transaction((tx) => tx.execute(copy)))
      expect(await codeOf(copying)).toBe('TENANCY_ERR_STATEMENT_REFUSED')
    }
    const idle = 'idle_session_timeout'
    for (const setting of [
      sql`set local idle_in_transaction_session_timeout = 50`,
      sql`set "idle_session_timeout" to '50ms'`,
      sql`SET LOCAL transaction_timeout TO 50`,
      sql.raw('set U&"idle!005fsession_timeout" uescape \'!\' = 50'),
      sql`select set_config('Idle_Session_Timeout', '50', false)`,
      sql`select set_config(${idle}, '50', false)`,
      sql`update pg_settings set setting = 50 where name = ${idle}`,
      sql`do $$ begin execute 'set idle_session_timeout = 50'; end $$`,
    ]) {
      const inTransaction = () => app.tenancy.run('acme', () => db().transaction((tx) => tx.execute(setting)))
      const alone = () => app.tenancy.run('acme', () => db().execute(setting))
      expect([await codeOf(inTransaction), await codeOf(alone)]).toEqual(Array(2).fill('TENANCY_ERR_STATEMENT_REFUSED'))
    }
    await app.tenancy.run('acme', () => add('served on'))
    expect(await namesIn(app)).toEqual(['served on'])
  })

  it('reads a text of half a character as another character, and to its end', async () => {
    const app = await embedded({})
    await app.tenancy.register({ identifier: 'acme' })
    const half = '€\udc00 pay 100.00 EUR'
    const read = await app.tenancy.run('acme', async () => {
      await add(half)
      await db().execute(sql.raw(`insert into items (name) values ('€\udc00'), ('end of the text')`))
      return (await db().execute(sql`select name from items order by id`)).rows.map(({ name }) => name)
    })
    expect(read).toEqual(['€\ufffd pay 100.00 EUR', '€\ufffd', 'end of the text'])
    expect(await codeOf(() => app.tenancy.run('acme', () => db().execute(sql.raw('select 1\0 from nowhere'))))).toBe(
      'TENANCY_ERR_STATEMENT_REFUSED',
    )
  })
})
