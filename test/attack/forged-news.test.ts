import { setTimeout as sleep } from 'node:timers/promises'
import { sql } from 'drizzle-orm'
import pg from 'pg'
import { expect, it, onTestFinished } from 'vitest'
import { db, migrationsOf } from '../faults/fixture.ts'
import { describeWith } from '../servers/suite.ts'
import { tenantApp } from '../support/app.ts'
import { asSuperuser, baselineDatabase } from '../support/database.ts'

/** Any role may NOTIFY and LISTEN on a channel whose name it knows. */
describeWith(['postgres18'], 'news of the registry', ({ postgres18 }) => {
  const world = async () => {
    const database = await baselineDatabase(postgres18.url)
    onTestFinished(() => database.drop())
    const app = await tenantApp(database, { migrations: await migrationsOf(['create table "notes" ("id" integer)']) })
    await app.ready()
    onTestFinished(() => app.close())
    const acme = await app.tenancy.register({ identifier: 'acme' })
    await app.tenancy.register({ identifier: 'evil' })
    await sleep(300)
    for (const identifier of ['acme', 'evil']) await app.tenancy.run(identifier, () => {})
    const asEvil = (statement: string) => app.tenancy.run('evil', () => db().execute(sql.raw(statement)))
    return { database, app, acme, asEvil }
  }
  const guess = `'tenancy_' || md5('"tenancy"')`

  it('cannot be forged by the SQL of a tenant', async () => {
    const { app, acme, asEvil } = await world()
    const misses = () => app.tenancy.getMetrics().cache.misses
    const before = misses()
    for (const channel of [guess, `'tenancy'`]) await asEvil(`select pg_notify(${channel}, 'changed ${acme.id}')`)
    await sleep(300)
    await app.tenancy.run('acme', () => {})
    expect(misses()).toBe(before)
  })

  it('are heard by nobody who guesses where they are told, and who serves cannot find it out', async () => {
    const { database, app, asEvil } = await world()
    const channel = await asSuperuser(database, async (client) => {
      const { rows } = await client.query<{ channel: string }>('select channel from tenancy.change_counter')
      return rows[0]?.channel ?? ''
    })
    const heard: string[] = []
    const client = new pg.Client({ connectionString: database.appUrl })
    client.on('notification', ({ channel: on }) => heard.push(on))
    await client.connect()
    onTestFinished(() => client.end())
    const guessed = (await client.query<{ name: string }>(`select ${guess} as name`)).rows[0]?.name ?? ''
    expect(channel).not.toBe(guessed)
    for (const name of [guessed, channel]) await client.query(`listen "${name}"`)
    await app.tenancy.suspend('acme')
    await client.query('select 1')
    await sleep(200)
    expect(new Set(heard)).toEqual(new Set([channel]))

    await expect(asEvil('select channel from tenancy.change_counter')).rejects.toThrow()
    for (const source of ['pg_catalog.pg_proc where prosrc like', 'pg_catalog.pg_stat_activity where query like']) {
      const found = await asEvil(`select from ${source} '%${channel}%'`).catch(() => ({ rows: [] }))
      expect(found.rows).toEqual([])
    }
  })

  it('are heard under another name after the connection was lost', async () => {
    const { database, app } = await world()
    const other = await tenantApp(database)
    await other.ready()
    onTestFinished(() => other.close())
    await sleep(300)
    await asSuperuser(database, (client) =>
      client.query(`update tenancy.change_counter set channel = 'tenancy_renamed';
        select pg_terminate_backend(pid) from pg_stat_activity
          where application_name = 'fastify-tenancy changes' and datname = current_database()`),
    )
    await sleep(2500)
    await other.tenancy.run('acme', () => {})
    await app.tenancy.suspend('acme')
    await sleep(200)
    await expect(other.tenancy.run('acme', () => {})).rejects.toMatchObject({ code: 'TENANCY_ERR_TENANT_SUSPENDED' })
  })
})
