import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import type { DatabaseServer } from '../../src/contracts/dialect.ts'
import type { Scope } from '../../src/contracts/isolation.ts'
import type { Migration } from '../../src/contracts/migrator.ts'
import { migrateNamespace } from '../../src/migrations/runner.ts'
import { until } from '../faults/fixture.ts'
import { type TestDatabase, withPort } from '../servers/database.ts'
import { describeWith } from '../servers/suite.ts'
import { asSuperuser, baselineDatabase, open, provisionScope, testServer } from '../support/database.ts'
import { codeOf } from '../support/errors.ts'

/** What docs/doctor.md says that the design keeps, where no other suite shows it. */
for (const version of ['15', '18'] as const) {
  describeWith(
    [`postgres${version}`, `pgbouncer${version}`],
    `sessions and locks of schemas on PostgreSQL ${version}`,
    (servers) => {
      const bouncer = servers[`pgbouncer${version}`]
      let database: TestDatabase
      let server: DatabaseServer
      let a: Scope
      let b: Scope
      const over = (on: DatabaseServer, scope: Scope) => on.client(scope, open) as unknown as pg.Pool
      const run = async (on: DatabaseServer, scope: Scope, text: string) =>
        (await over(on, scope).query(text)).rows as Record<string, unknown>[]
      const opened = async (options: Parameters<typeof testServer>[1]) => {
        const made = testServer(database, options)
        await made.open()
        onTestFinished(() => made.close())
        return made
      }
      const backend = async (on: { query: pg.Pool['query'] }) =>
        (await on.query('select pg_backend_pid() as pid')).rows[0]

      beforeAll(async () => {
        database = await baselineDatabase(servers[`postgres${version}`].url)
        server = testServer(database)
        await server.open()
        const ddl = (owner: string) => ['create table items (owner text)', `insert into items values ('${owner}')`]
        a = await provisionScope(server, ddl('a'))
        b = await provisionScope(server, ddl('b'))
      })
      afterAll(async () => {
        await server?.close()
        await database?.drop()
      })

      it('[schema-8] [schema-14] a session is as it was, after statements, failures, prepared ones and transactions', async () => {
        const url = withPort(database.appUrl, bouncer.port)
        const pooled = await opened({ url, poolSize: 1, pooled: true })
        // By the same role through the same pooler: it is given the connection that was used last.
        const raw = new pg.Client({ connectionString: url })
        await raw.connect()
        onTestFinished(() => raw.end())
        const session = async () => ({
          pid: await backend(raw as never),
          changed: (await raw.query(`select name, setting from pg_settings where source = 'session' order by 1`)).rows,
          path: (await raw.query('show search_path')).rows,
          tenant: (await raw.query(`select coalesce(current_setting('app.current_tenant', true), '') as tenant`)).rows,
        })
        const before = await session()
        expect(before.tenant).toEqual([{ tenant: '' }])
        for (const scope of [a, b]) {
          await run(pooled, scope, 'select * from items')
          expect(await codeOf(() => run(pooled, scope, 'select 1/0'))).toBe('22012')
          await over(pooled, scope).query({ name: 'mine', text: 'select * from items' })
          const client = await over(pooled, scope).connect()
          for (const text of ['begin', 'select * from items', 'savepoint s', 'select * from items', 'rollback']) {
            await client.query(text)
          }
          client.release()
          expect(await session()).toEqual(before)
        }
        const both = { ...a, namespace: `${a.namespace}", "${b.namespace}` }
        expect(await codeOf(() => run(pooled, both, 'select * from items'))).toBe('42P01')
      })

      it('[schema-9] a statement whose scope cannot be set is not run, nor is one in a transaction', async () => {
        const broken = { ...a, settings: { ...a.settings, statement_timeout: 'nonsense' } }
        expect(await codeOf(() => run(server, broken, `insert into items values ('lost')`))).toBe('22023')
        const inside = async () => {
          const client = await over(server, broken).connect()
          try {
            await client.query('begin')
            await client.query(`insert into items values ('lost')`)
            await client.query('commit')
          } finally {
            client.release()
          }
        }
        expect(await codeOf(inside)).toBe('22023')
        expect(await run(server, a, 'select * from items')).toEqual([{ owner: 'a' }])
      })

      it('[schema-9] a session that a statement changed is destroyed', async () => {
        const single = await opened({ poolSize: 1 })
        const first = await backend(over(single, a))
        expect(await backend(over(single, b))).toEqual(first)
        await run(single, a, `set statement_timeout to '12345'`)
        expect(await backend(over(single, b))).not.toEqual(first)
        expect(await run(single, b, 'show statement_timeout')).toEqual([{ statement_timeout: '0' }])
      })

      it('[schema-12] PgBouncer follows no path, and every tenant has its own on connections that they share', async () => {
        const console = new pg.Client({ connectionString: `postgres://postgres@127.0.0.1:${bouncer.port}/pgbouncer` })
        await console.connect()
        onTestFinished(() => console.end())
        const { rows } = await console.query<{ key: string; value: string }>('show config')
        expect(rows.length).toBeGreaterThan(10)
        expect(rows.filter(({ value }) => value?.includes('search_path'))).toEqual([])

        const pooled = await opened({ url: withPort(database.appUrl, bouncer.port), poolSize: 10, pooled: true })
        const owners = await Promise.all(
          Array.from({ length: 100 }, (_, i) => run(pooled, i % 2 === 0 ? a : b, 'select * from items')),
        )
        expect(owners).toEqual(owners.map((_, i) => [{ owner: i % 2 === 0 ? 'a' : 'b' }]))
      })

      it('[schema-13] PgBouncer refuses a connection with the path as an option, and takes ours', async () => {
        const url = withPort(database.appUrl, bouncer.port)
        const withOption = new pg.Client({ connectionString: url, options: `-c search_path=${a.namespace}` })
        await expect(withOption.connect()).rejects.toThrow(/unsupported startup parameter/)
        const pooled = await opened({ url, pooled: true })
        expect(await run(pooled, a, 'select * from items')).toEqual([{ owner: 'a' }])
      })

      it('[schema-16] a connection is replaced when it is old, and not while it is used', async () => {
        const single = await opened({ poolSize: 1, poolRecycle: 1 })
        const client = await over(single, a).connect()
        await client.query('begin')
        const first = await backend(client as never)
        await sleep(1200)
        expect(await backend(client as never)).toEqual(first)
        await client.query('commit')
        client.release()
        const second = await backend(over(single, a))
        expect(second).not.toEqual(first)
        await until(async () => (await backend(over(single, b)))?.['pid'] !== second?.['pid'])
      })

      it('[schema-18] [schema-19] DDL waits for a long query of its tenant, the next ones behind it, and nobody else', async () => {
        const add: Migration = {
          name: 'add',
          file: 'add.sql',
          hash: 'add',
          createdAt: 1,
          statements: ['alter table items add column later text'],
        }
        const migrate = (scope: Scope) => migrateNamespace({ server, scope, migrations: [add] })
        const waiting = () =>
          asSuperuser(database, async (client) => {
            const { rows } = await client.query<{ event: string }>(
              `select wait_event as event from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' order by 1`,
            )
            return rows.map(({ event }) => event)
          })
        const long = await over(server, a).connect()
        await long.query('begin')
        await long.query('select * from items')

        const runs = [migrate(a)]
        await until(async () => (await waiting()).join() === 'relation')
        runs.push(migrate(a))
        const next = run(server, a, 'select * from items')
        await until(async () => (await waiting()).join() === 'advisory,relation,relation')
        expect((await migrate(b)).applied).toEqual(['add'])
        expect(await run(server, b, 'select * from items')).toEqual([{ owner: 'b', later: null }])

        await long.query('commit')
        long.release()
        expect(await next).toEqual([{ owner: 'a', later: null }])
        expect((await Promise.all(runs)).map(({ applied }) => applied)).toEqual([['add'], []])
      })
    },
  )
}
