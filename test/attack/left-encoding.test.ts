import type pg from 'pg'
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import type { DatabaseServer } from '../../src/contracts/dialect.ts'
import type { Scope } from '../../src/contracts/isolation.ts'
import { migrateNamespace } from '../../src/migrations/runner.ts'
import { type TestDatabase, withPort } from '../servers/database.ts'
import { describeWith } from '../servers/suite.ts'
import { baselineDatabase, open, provisionScope, testServer } from '../support/database.ts'
import { rlsBed } from '../support/rls.ts'

const ITEMS = 'create table items (tenant_id text not null, id int not null, owner text, primary key (tenant_id, id))'
const READ = 'select owner from items'

/** Keys of which the second is what the bytes of the first are in this encoding, and one whose last byte would swallow a backslash. */
const PAIRS = {
  LATIN1: ['é', 'Ã©'],
  WIN1252: ['€', 'â‚¬'],
  GBK: ['é', '茅'],
  GB18030: ['é', '茅'],
  UHC: ['é', '챕'],
  SJIS: ['é', 'ﾃｩ'],
} as const
const SWALLOWS = `中\\'; set local app.current_tenant to b; --`

/** Ways to leave a setting that neither begin with SET nor are answered like it. */
const WAYS = [
  (name: string, value: string) => `select set_config('${name}', '${value}', false)`,
  (name: string, value: string) => `update pg_settings set setting = '${value}' where name = '${name}'`,
]

for (const version of ['15', '18'] as const) {
  for (const through of ['direct', 'PgBouncer'] as const) {
    describeWith(
      [`postgres${version}`, `pgbouncer${version}`],
      `PostgreSQL ${version}, ${through}: how text is read, left otherwise by a tenant`,
      (servers) => {
        let database: TestDatabase
        const url = () =>
          through === 'direct' ? database.appUrl : withPort(database.appUrl, servers[`pgbouncer${version}`].port)
        beforeAll(async () => {
          database = await baselineDatabase(servers[`postgres${version}`].url)
        })
        afterAll(() => database?.drop())

        const bedOf = async (keys: readonly string[]) => {
          const bed = await rlsBed(database, [ITEMS], { keys, url: url(), poolSize: 1 })
          onTestFinished(() => bed.server.close())
          await migrateNamespace({ server: bed.server, scope: bed.b, migrations: [] })
          for (const [scope, owner] of [
            [bed.a, 'a'],
            [bed.b, 'b'],
          ] as const)
            await bed.rows(scope, `insert into items (id, owner) values (1, '${owner}')`)
          return bed
        }
        const poolOf = (server: DatabaseServer, scope: Scope) => server.client(scope, open) as pg.Pool
        const inTransaction = async (client: pg.PoolClient, ...texts: string[]) => {
          const rows: unknown[] = []
          await client.query('begin')
          for (const text of texts) rows.push(...(await client.query(text)).rows)
          await client.query('commit')
          return rows
        }
        const onClient = async <T>(
          server: DatabaseServer,
          scope: Scope,
          work: (client: pg.PoolClient) => Promise<T>,
        ) => {
          const client = await poolOf(server, scope).connect()
          try {
            return await work(client)
          } finally {
            client.release()
          }
        }

        for (const [encoding, keys] of Object.entries(PAIRS)) {
          it(`reads no row of the tenant whose key is the other's in ${encoding}`, async () => {
            const { server, a, b, rows } = await bedOf(keys)
            for (const way of WAYS) {
              await rows(b, way('client_encoding', encoding))
              expect(await rows(a, READ)).toEqual([{ owner: 'a' }])
              await onClient(server, b, (client) => inTransaction(client, way('client_encoding', encoding)))
              expect(await onClient(server, a, (client) => inTransaction(client, READ))).toEqual([{ owner: 'a' }])
              await rows(b, way('client_encoding', encoding))
              const lazy = server.lazyTransaction(a, open)
              expect((await (lazy.client as pg.Pool).query(READ)).rows).toEqual([{ owner: 'a' }])
              await lazy.commit()
            }
          })
        }

        for (const [encoding, keys] of [...Object.entries(PAIRS), ['GBK', [SWALLOWS, 'b']] as const]) {
          it(`has its scope where it made its own session read ${encoding}, with the key ${keys[0]}`, async () => {
            const { server, a } = await bedOf(keys)
            const [alone, begun] = await onClient(server, a, async (client) => {
              await client.query(
                `select set_config('backslash_quote', 'on', false), set_config('client_encoding', '${encoding}', false)`,
              )
              // The encoding may have no letter for what the scope answers, which is the key.
              const answer = await client.query(READ).then(
                ({ rows }) => rows as unknown[],
                ({ code }) => [code] as unknown[],
              )
              return [answer, await inTransaction(client, READ)]
            })
            expect([[{ owner: 'a' }], ['22P05']]).toContainEqual(alone)
            expect(begun).toEqual([{ owner: 'a' }])
          })
        }

        it('leaves the texts of the next tenant as they are written', async () => {
          const server = testServer(database, { url: url(), poolSize: 1 })
          await server.open()
          onTestFinished(() => server.close())
          const [a, b] = [
            await provisionScope(server, [`create table items (owner text)`, `insert into items values ('a')`]),
            await provisionScope(server, [`create table items (owner text)`]),
          ]
          // Quoted as the standard says, which is enough while a backslash is a letter.
          const input = `\\' union select owner from ${a.namespace}.items --`.replaceAll("'", "''")
          for (const way of WAYS) {
            await poolOf(server, a).query(way('standard_conforming_strings', 'off'))
            expect((await poolOf(server, b).query(`${READ} where owner = '${input}'`)).rows).toEqual([])
            await poolOf(server, a).query(way('client_encoding', 'LATIN1'))
            const { rows } = await poolOf(server, b).query(`select 'é' as text, length('é'), length($1) as sent`, ['é'])
            expect(rows).toEqual([{ text: 'é', length: 1, sent: 1 }])
          }
        })
      },
    )
  }
}
