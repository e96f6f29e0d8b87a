import { setTimeout as sleep } from 'node:timers/promises'
import { sql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/node-postgres'
import type pg from 'pg'
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import type { DatabaseServer } from '../../src/contracts/dialect.ts'
import type { Scope } from '../../src/contracts/isolation.ts'
import { namespaceStrategy } from '../../src/isolation/namespace.ts'
import { describeWith } from '../servers/suite.ts'
import { open, placedScope, provisionScope, testServer } from '../support/database.ts'
import { codeOf } from '../support/errors.ts'
import { databaseHost, type DatabaseHost } from '../support/tenant-databases.ts'

const TAKEN = 'TENANCY_ERR_NAMESPACE_EXISTS'
const ddl = [
  'create table items (id int)',
  'insert into items values (1)',
  'create view all_items as select * from items',
]

for (const version of ['15', '18'] as const) {
  describeWith([`postgres${version}`], `databases of tenants come and go on PostgreSQL ${version}`, (servers) => {
    let host: DatabaseHost
    let server: DatabaseServer

    const newScope = () => placedScope(namespaceStrategy('database'))
    const serverWith = async (options: Parameters<typeof testServer>[1] = {}) => {
      const made = testServer(host, { strategies: ['database'], databaseTemplate: host.template, ...options })
      onTestFinished(() => made.close())
      return { made, warnings: await made.open() }
    }
    const dbOf = (scope: Scope, on = server) => drizzle({ client: on.client(scope, open) as unknown as pg.Pool })
    const count = async (scope: Scope, on = server) =>
      Number((await dbOf(scope, on).execute(sql`select count(*) as n from items`)).rows[0]?.['n'])
    const exists = async ({ namespace }: Scope) =>
      (await server.admin.query('select 1 from pg_database where datname = $1', [namespace])).length > 0
    /** Without a transaction, as the admin role makes databases. */
    const byAdmin = (statement: string) =>
      host.asSuperuserIn('postgres', async (client) => {
        await client.query(`set session authorization ${host.ownerRole}`)
        await client.query(statement)
      })

    beforeAll(async () => {
      host = await databaseHost(servers[`postgres${version}`]?.url ?? '')
      server = testServer(host, { strategies: ['database'], databaseTemplate: host.template })
      await server.open()
    })
    afterAll(async () => {
      await server?.close()
      await host?.drop()
    })

    it('[W49] 6 concurrent calls end with one database and no error', async () => {
      const scope = newScope()
      const { made: other } = await serverWith()
      const calls = Array.from({ length: 6 }, (_, i) =>
        (i % 2 === 0 ? server : other).inNamespace(scope, async (session) => {
          const created = await session.ensure()
          if (created) for (const statement of ddl) await session.run(statement)
          return created
        }),
      )
      expect((await Promise.all(calls)).filter(Boolean)).toHaveLength(1)
      expect(await count(scope)).toBe(1)
      await server.destroy(scope)
    })

    it('[W3] a failure drops the database that this very call made, and no other', async () => {
      const scope = newScope()
      const failing = () =>
        server.inNamespace(scope, async (session) => {
          await session.ensure()
          await session.run('create table half (id int)')
          await session.run('select 1/0')
        })
      await expect(failing()).rejects.toThrow('division by zero')
      expect(await exists(scope)).toBe(false)
      await provisionScope(server, ddl, scope)
      await expect(failing()).rejects.toThrow('division by zero')
      expect(await count(scope)).toBe(1)
      expect(await codeOf(() => dbOf(scope).execute(sql`select * from half`))).toBe('42P01')
    })

    it('[W3] a race with a failing call loses nothing of the others', async () => {
      const scope = newScope()
      const calls = await Promise.allSettled(
        Array.from({ length: 6 }, (_, i) =>
          server.inNamespace(scope, async (session) => {
            const created = await session.ensure()
            if (created) await session.run('create table items (id int)')
            if (i === 0) await session.run('select 1/0')
          }),
        ),
      )
      expect(calls.filter(({ status }) => status === 'rejected')).toHaveLength(1)
      expect(await count(scope)).toBe(0)
    })

    it('finishes what a crash left between CREATE DATABASE and its mark', async () => {
      const scope = newScope()
      await byAdmin(`create database ${scope.namespace} template ${host.template} allow_connections false`)
      await provisionScope(server, ddl, scope)
      expect(await count(scope)).toBe(1)
      expect((await server.destroy(scope)).objects).toBeGreaterThan(1)
    })

    it('finishes what a crash left after the mark, before anything was inside', async () => {
      const scope = newScope()
      await byAdmin(`create database ${scope.namespace} template ${host.template}`)
      await byAdmin(`comment on database ${scope.namespace} is 'fastify-tenancy tenant ${scope.tenantId}'`)
      await byAdmin(`grant connect on database ${scope.namespace} to ${host.appRole}`)
      await provisionScope(server, ddl, scope)
      expect(await count(scope)).toBe(1)
    })

    it('[W4] never adopts or drops a database that is not marked as this tenant’s', async () => {
      const [unmarked, foreign, closed] = [newScope(), newScope(), newScope()]
      await byAdmin(`create database ${unmarked.namespace}`)
      await provisionScope(server, ddl, foreign)
      const thief = { ...foreign, tenantId: '00000000-0000-4000-8000-000000000000' }
      await host.asSuperuserIn('postgres', (client) =>
        client.query(`create database ${closed.namespace} allow_connections false`),
      )
      for (const scope of [unmarked, thief, closed]) {
        expect(await codeOf(() => server.inNamespace(scope, (session) => session.ensure()))).toBe(TAKEN)
        expect(await codeOf(() => server.destroy(scope))).toBe(TAKEN)
        expect(await exists(scope)).toBe(true)
      }
      expect(await count(foreign)).toBe(1)
      await host.asSuperuserIn('postgres', (client) => client.query(`drop database ${closed.namespace}`))
    })

    it('destroys the database with all that is connected to it, and nothing of its neighbour', async () => {
      const [a, b] = [await provisionScope(server, ddl, newScope()), await provisionScope(server, ddl, newScope())]
      const { made: other } = await serverWith()
      expect([await count(a, other), await count(b, other), await count(a)]).toEqual([1, 1, 1])
      const running = codeOf(() => dbOf(a, other).execute(sql`select pg_sleep(60)`))
      await sleep(50)
      const report = await server.destroy(a)
      // The table, its view, the ledger with its sequence, and the database.
      expect(report).toEqual({ objects: 5, rows: 0 })
      expect(await running).toBe('TENANCY_ERR_DATABASE_UNAVAILABLE')
      expect(await exists(a)).toBe(false)
      expect(await codeOf(() => count(a, other))).toBe('TENANCY_ERR_DATABASE_UNAVAILABLE')
      expect([await count(b, other), await count(b)]).toEqual([1, 1])
      expect(await server.destroy(a)).toEqual({ objects: 0, rows: 0 })
    })

    it('leaves the database as it is when it cannot end the sessions in it, and says so', async () => {
      const scope = await provisionScope(server, ddl, newScope())
      const { made: other } = await serverWith()
      await count(scope, other)
      await host.asSuperuserIn('postgres', (client) => client.query(`revoke ${host.appRole} from ${host.ownerRole}`))
      expect(await codeOf(() => server.destroy(scope))).toBe('TENANCY_ERR_DESTROY_INCOMPLETE')
      expect(await count(scope)).toBe(1)
      const { warnings } = await serverWith()
      expect(warnings).toEqual([expect.stringContaining('cannot end sessions of the serving role')])
      await host.asSuperuserIn('postgres', (client) => client.query(`grant ${host.appRole} to ${host.ownerRole}`))
      await server.destroy(scope)
    })

    it('[W54] forgets a tenant: idle connections end at once, those in use when they come back', async () => {
      const scope = await provisionScope(server, ddl, newScope())
      const sessions = async () => {
        const { rows } = await host.asSuperuserIn('postgres', (client) =>
          client.query("select 1 from pg_stat_activity where datname = $1 and backend_type = 'client backend'", [
            scope.namespace,
          ]),
        )
        return rows.length
      }
      const client = await (server.client(scope, open) as pg.Pool).connect()
      await count(scope)
      expect(await sessions()).toBe(2)
      server.forget?.(scope)
      await expect.poll(sessions).toBe(1)
      expect((await client.query('select 1 as one')).rows).toEqual([{ one: 1 }])
      client.release()
      await expect.poll(sessions).toBe(0)
      expect(await count(scope)).toBe(1)
    })

    it('copies a template with its extensions and rights, which the admin role could not give', async () => {
      await host.asSuperuserIn(host.template, (client) =>
        client.query('create extension if not exists pgcrypto schema extensions'),
      )
      const scope = await provisionScope(
        server,
        ['create table secrets (id uuid default gen_random_uuid(), hash text)'],
        newScope(),
      )
      const [row] = (await dbOf(scope).execute(sql`select length(crypt('x', gen_salt('bf', 4))) as length`)).rows
      expect(row).toEqual({ length: 60 })
      expect(await codeOf(() => dbOf(scope).execute(sql`select * from pg_stat_activity`))).toBe('42501')
    })

    it('makes no database of a template in which a tenant is: its rows would be in all of them', async () => {
      const template = `used_${host.template}`
      const scope = await provisionScope(server, ddl, newScope())
      await byAdmin(`alter database ${scope.namespace} rename to ${template}`)
      const { made } = await serverWith({ databaseTemplate: template })
      const other = newScope()
      const error = await made.inNamespace(other, (session) => session.ensure()).catch((reason: unknown) => reason)
      expect(error).toMatchObject({
        code: 'TENANCY_ERR_CONFIG_INVALID',
        message: expect.stringContaining('databaseTemplate'),
      })
      expect(JSON.stringify(error)).not.toContain(scope.namespace)
      expect(await exists(other)).toBe(false)
      await byAdmin(`alter database ${template} rename to ${scope.namespace}`)
      expect(await count(scope)).toBe(1)
    })

    it('finds nothing where a database was put in the place of another by hand', async () => {
      const [a, b] = [await provisionScope(server, ddl, newScope()), await provisionScope(server, ddl, newScope())]
      expect([await count(a), await count(b)]).toEqual([1, 1])
      const disconnected = async (...scopes: Scope[]) => {
        for (const scope of scopes) server.forget?.(scope)
        const names = scopes.map(({ namespace }) => namespace)
        const sessions = "select 1 from pg_stat_activity where datname = any($1) and backend_type = 'client backend'"
        await expect
          .poll(() =>
            host.asSuperuserIn('postgres', async (client) => (await client.query(sessions, [names])).rowCount),
          )
          .toBe(0)
      }
      await disconnected(a, b)
      await byAdmin(`alter database ${a.namespace} rename to aside`)
      await byAdmin(`alter database ${b.namespace} rename to ${a.namespace}`)
      expect(await codeOf(() => count(a))).toBe('42P01')
      expect(await codeOf(() => count(b))).toBe('TENANCY_ERR_DATABASE_UNAVAILABLE')
      // Nor is it migrated or dropped as theirs: the mark went along.
      expect(await codeOf(() => server.inNamespace(a, (session) => session.ensure()))).toBe(TAKEN)
      expect(await codeOf(() => server.destroy(a))).toBe(TAKEN)
      await disconnected(a, b)
      await byAdmin(`alter database ${a.namespace} rename to ${b.namespace}`)
      await byAdmin(`alter database aside rename to ${a.namespace}`)
      expect([await count(a), await count(b)]).toEqual([1, 1])
    })

    it('warns of a template that leaves something open, and of missing rights', async () => {
      const { warnings } = await serverWith({ databaseTemplate: 'template0' })
      expect(warnings).toEqual([expect.stringContaining('can read pg_stat_activity')])
      await host.asSuperuserIn('postgres', (client) => client.query(`alter role ${host.ownerRole} nocreatedb`))
      const { warnings: more, made } = await serverWith({ databaseTemplate: 'nowhere' })
      expect(more).toEqual([expect.stringContaining('give it CREATEDB'), expect.stringContaining('"nowhere"')])
      expect(await codeOf(() => made.inNamespace(newScope(), (session) => session.ensure()))).toBe('42501')
      await host.asSuperuserIn('postgres', (client) => client.query(`alter role ${host.ownerRole} createdb`))
    })

    it('an admin that is a superuser needs no template', async () => {
      const { made, warnings } = await serverWith({ databaseTemplate: 'template0', adminUrl: host.superUrl })
      expect(warnings).toEqual([])
      const scope = await provisionScope(made, ddl, newScope())
      expect(await count(scope, made)).toBe(1)
      for (const text of ['select * from pg_stat_activity', 'select lo_get(1)', 'select * from public.nothing']) {
        expect(await codeOf(() => dbOf(scope, made).execute(sql.raw(text))), text).toBe('42501')
      }
      await made.destroy(scope)
    })

    it('a role that has no adminDatabaseUrl beside it serves and makes databases too', async () => {
      const { made } = await serverWith({ url: host.adminUrl })
      const scope = await provisionScope(made, ddl, newScope())
      expect(await count(scope, made)).toBe(1)
      await made.destroy(scope)
    })
  })
}
