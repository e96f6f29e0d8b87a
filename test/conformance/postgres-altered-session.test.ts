import type pg from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { DatabaseServer } from '../../src/contracts/dialect.ts'
import type { Scope } from '../../src/contracts/isolation.ts'
import { namespaceStrategy } from '../../src/isolation/namespace.ts'
import { describeWith } from '../servers/suite.ts'
import { open, placedScope, provisionScope, testServer } from '../support/database.ts'
import { databaseHost, type DatabaseHost } from '../support/tenant-databases.ts'

/** What PostgreSQL reports of a session, and a role like ours may change. */
const REPORTED = {
  client_encoding: 'LATIN1',
  standard_conforming_strings: 'off',
  DateStyle: 'German, DMY',
  IntervalStyle: 'iso_8601',
  TimeZone: 'Asia/Tokyo',
  default_transaction_read_only: 'on',
  application_name: 'of a',
}

const left = (name: string, value: string) => `select set_config('${name}', '${value}', false)`

for (const version of ['15', '18'] as const) {
  describeWith([`postgres${version}`], `a session that PostgreSQL ${version} says was altered`, (servers) => {
    let host: DatabaseHost
    beforeAll(async () => {
      host = await databaseHost(servers[`postgres${version}`].url)
    })
    afterAll(() => host?.drop())

    describe.each(['schema', 'database'] as const)('%s', (strategy) => {
      let server: DatabaseServer
      let a: Scope
      let b: Scope
      const poolOf = (scope: Scope) => server.client(scope, open) as pg.Pool
      const row = async (scope: Scope, text: string) =>
        (await poolOf(scope).query<Record<string, unknown>>(text)).rows[0] ?? {}
      const session = async (scope: Scope) => (await row(scope, 'select pg_backend_pid() as session'))['session']
      const inTransaction = async (scope: Scope, text: string, end = 'commit') => {
        const client = await poolOf(scope).connect()
        try {
          for (const each of ['begin', text, end]) await client.query(each)
        } finally {
          client.release()
        }
      }

      beforeAll(async () => {
        server = testServer(host, {
          strategies: [strategy],
          databaseTemplate: host.template,
          poolSize: 1,
          maxTenantConnections: 1,
        })
        await server.open()
        a = await provisionScope(server, ['create table items (id int)'], placedScope(namespaceStrategy(strategy)))
        // Under `database` nobody else has the connection.
        b =
          strategy === 'database'
            ? a
            : await provisionScope(server, ['create table items (id int)'], placedScope(namespaceStrategy(strategy)))
      })
      afterAll(() => server?.close())

      it.each(Object.entries(REPORTED))('is not handed on: %s', async (name, value) => {
        const setting = `select current_setting('${name}') as now`
        const before = await row(b, setting)
        expect(before['now']).not.toBe(value)
        for (const leave of [
          () => row(a, left(name, value)),
          () => inTransaction(a, left(name, value)),
          () => row(a, `update pg_settings set setting = '${value}' where name = '${name}'`),
        ]) {
          const its = await session(a)
          await leave()
          expect(await row(b, setting)).toEqual(before)
          expect(await session(b)).not.toBe(its)
        }
      })

      it('is handed on where nothing of it stays, and where only the path does, which each scope says again', async () => {
        const its = await session(a)
        await inTransaction(a, 'select 1')
        await inTransaction(b, 'insert into items values (1)')
        await inTransaction(a, left('TimeZone', 'Asia/Tokyo'), 'rollback')
        await row(a, `select set_config('TimeZone', 'Asia/Tokyo', true)`)
        await expect(row(a, `select set_config('TimeZone', 'Asia/Tokyo', false), 1/0`)).rejects.toThrow('division')
        const client = await poolOf(a).connect()
        const zone = (await client.query('show timezone')).rows[0] as { TimeZone: string }
        await client.query(left('TimeZone', 'Asia/Tokyo'))
        await client.query(left('TimeZone', zone.TimeZone))
        client.release()
        if (strategy === 'schema') await row(a, left('search_path', 'nowhere'))
        expect(await session(b)).toBe(its)
      })
    })

    it('is not handed on by the admin connection, whose SQL is that of migrations', async () => {
      const server = testServer(host)
      await server.open()
      const zone = () => server.admin.query<{ TimeZone: string }>('show timezone')
      const before = await zone()
      await server.admin.query(left('TimeZone', 'Asia/Tokyo'))
      expect(await zone()).toEqual(before)
      await server.close()
    })
  })
}
