import pg from 'pg'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { DatabaseServer } from '../../src/contracts/dialect.ts'
import type { Scope } from '../../src/contracts/isolation.ts'
import { checkoutFrom } from '../../src/dialects/postgres/drivers/pg-pool.ts'
import { scopedQueries, silentScope } from '../../src/dialects/postgres/drivers/pg-scoped-query.ts'
import { tenantPool } from '../../src/dialects/postgres/drivers/pg-tenant-pool.ts'
import type { PgModule, PgPool } from '../../src/dialects/postgres/drivers/pg-types.ts'
import { migrateNamespace } from '../../src/migrations/runner.ts'
import type { TestDatabase } from '../servers/database.ts'
import { describeWith } from '../servers/suite.ts'
import {
  asSuperuser,
  baselineDatabase,
  makeExtension,
  open,
  runRolesScript,
  schemaScope,
  sharedSchemas,
  testServer,
} from '../support/database.ts'
import { barePool } from './target.ts'

const qualified = { ...sharedSchemas, schemaScoping: 'qualified' as const }
const statements = ['CREATE TABLE items (secret text NOT NULL)']
const migrations = [{ name: 'm', file: 'm.sql', hash: 'm', createdAt: 1, statements }]

/** A plain name, which must be nobody's. */
const UNQUALIFIED = 'select secret from items'
const NOT_THERE = '42P01'
const ASK_PATH = `select current_setting('search_path') as path`

interface Connection {
  query(config: unknown): Promise<{ rows: Record<string, unknown>[] }>
  release(error?: boolean): void
}
interface Pool {
  query(config: unknown): Promise<{ rows: Record<string, unknown>[] }>
  connect(): Promise<Connection>
}

/** What would make the plain names of whoever comes next those of `schema`. */
function poisons(schema: string, { appRole, database }: TestDatabase): string[] {
  return [
    `set search_path to "${schema}"`,
    `set session search_path = '${schema}', pg_catalog`,
    `set schema '${schema}'`,
    `; /* a */ -- b\n set search_path to "${schema}"`,
    `set local search_path to "${schema}"`,
    `select set_config('search_path', '${schema}', false)`,
    `select pg_catalog.set_config('search_path', '${schema}', false) from pg_class limit 1`,
    `with x as materialized (select set_config('search_path', '${schema}', false) as y) select y from x`,
    `update pg_settings set setting = '${schema}' where name = 'search_path'`,
    `do $$ begin execute 'set search_path to "${schema}"'; end $$`,
    `do language plpgsql $$ begin perform set_config('search_path', '${schema}', false); end $$`,
    `alter role current_user set search_path to "${schema}"`,
    `alter role "${appRole}" in database "${database}" set search_path to "${schema}"`,
    `alter user session_user set search_path to "${schema}"`,
    `alter database "${database}" set search_path to "${schema}"`,
    `reset search_path`,
    `reset all`,
    `discard all`,
    `set search_path to default`,
    `create temp table items as select secret from "${schema}".items`,
    `create temp view items as select secret from "${schema}".items`,
    `create function pg_temp.items() returns int language sql as 'select 1'`,
    `create view extensions.items as select secret from "${schema}".items`,
    `create schema items`,
    `prepare theirs as select secret from "${schema}".items`,
    `declare theirs cursor with hold for select secret from "${schema}".items`,
  ]
}

for (const version of ['postgres15', 'postgres18'] as const) {
  describeWith([version], `names written out on ${version}`, ({ [version]: postgres }) => {
    let database: TestDatabase
    let a: Scope
    let b: Scope
    const opened: { close(): Promise<void> }[] = []

    const openServer = async (poolSize = 1): Promise<DatabaseServer> => {
      const server = testServer(database, { poolSize, shared: qualified })
      await server.open()
      opened.push(server)
      return server
    }
    const clientsOf = (server: DatabaseServer) =>
      [a, b].map((scope) => server.client(scope, open) as Pool) as [Pool, Pool]
    const superuser = (text: string) => asSuperuser(database, (client) => client.query(text))
    /** Plain names are nobody's, alone and in a transaction, on this connection and on the next. */
    const expectNobodys = async (pool: Pool, { namespace }: Scope, secret: string) => {
      for (let connection = 0; connection < 2; connection++) {
        expect((await pool.query(ASK_PATH)).rows).toEqual([{ path: 'extensions,pg_temp' }])
        expect(await codeOf(pool.query(UNQUALIFIED))).toBe(NOT_THERE)
        expect((await pool.query(`select secret from "${namespace}".items`)).rows).toEqual([{ secret }])
        const client = await pool.connect()
        await client.query('begin')
        expect(await codeOf(client.query(UNQUALIFIED))).toBe(NOT_THERE)
        await client.query('rollback')
        // A new one takes its place.
        client.release(true)
      }
    }

    beforeAll(async () => {
      database = await baselineDatabase(postgres.url, { qualified: true })
      const server = await openServer()
      ;[a, b] = [schemaScope(), schemaScope()]
      for (const scope of [a, b]) await migrateNamespace({ server, scope, migrations })
      await superuser(
        `insert into "${a.namespace}".items values ('of a'); insert into "${b.namespace}".items values ('of b')`,
      )
    })
    afterEach(async () => {
      for (const one of opened.splice(0)) await one.close()
      await superuser(
        `alter role "${database.appRole}" reset all; alter role "${database.appRole}" in database "${database.database}" reset all`,
      )
    })
    afterAll(() => database?.drop())

    const ways: Record<string, (server: DatabaseServer, text: string) => Promise<unknown>> = {
      alone: (server, text) => clientsOf(server)[0].query(text),
      'on a connection that is held': async (server, text) => {
        const client = await clientsOf(server)[0].connect()
        await codeOf(client.query(text))
        client.release()
      },
      'in a transaction that commits': async (server, text) => inTransaction(clientsOf(server)[0], text, 'commit'),
      'in one that rolls back': async (server, text) => inTransaction(clientsOf(server)[0], text, 'rollback'),
      'undone by a savepoint': async (server, text) => {
        const client = await clientsOf(server)[0].connect()
        for (const one of ['begin', 'savepoint here', text, 'rollback to savepoint here', 'commit'])
          await codeOf(client.query(one))
        client.release()
      },
      'in the transaction of a request': async (server, text) => {
        const transaction = server.lazyTransaction(a, open)
        await codeOf((transaction.client as Pool).query(text))
        await codeOf(transaction.commit())
      },
    }
    it.each(Object.keys(ways))(
      'a plain name is nobody’s whatever the tenant before did, %s',
      async (way) => {
        const server = await openServer()
        const [, ofB] = clientsOf(server)
        for (const text of poisons(a.namespace, database)) {
          await codeOf(ways[way]?.(server, text) ?? Promise.reject(new Error(way)))
          await expectNobodys(ofB, b, 'of b')
        }
      },
      120_000,
    )

    it('and on connections that others open at the same time', async () => {
      const server = await openServer(5)
      const [ofA, ofB] = clientsOf(server)
      const work = Array.from({ length: 150 }, async (_, i) => {
        const texts = poisons(a.namespace, database)
        await codeOf(ofA.query(texts[i % texts.length]))
        expect(await codeOf(ofB.query(UNQUALIFIED))).toBe(NOT_THERE)
      })
      await Promise.all(work)
    }, 60_000)

    describe('control: the name is the wrong tenant’s', () => {
      it('when the serving role may call set_config', async () => {
        const server = await openServer()
        const [ofA, ofB] = clientsOf(server)
        const text = `select set_config('search_path', '${a.namespace}', false)`
        expect(await codeOf(ofA.query(text))).toBe('42501')
        await superuser(`grant execute on function set_config(text, text, boolean) to "${database.appRole}"`)
        await ofA.query(text)
        expect((await ofB.query(UNQUALIFIED)).rows).toEqual([{ secret: 'of a' }])
        await expect(openServer()).rejects.toMatchObject({ code: 'TENANCY_ERR_RIGHTS_UNMET' })
        await superuser(`revoke execute on function set_config(text, text, boolean) from "${database.appRole}"`)
      })

      it('not when it may write a block, which costs the connection; the start refuses it all the same', async () => {
        const server = await openServer()
        const [ofA, ofB] = clientsOf(server)
        await superuser(`grant usage on language plpgsql to "${database.appRole}"`)
        await ofA.query(`do $$ begin execute 'set search_path to "${a.namespace}"'; end $$`)
        expect(await codeOf(ofB.query(UNQUALIFIED))).toBe('42P01')
        await expect(openServer()).rejects.toMatchObject({ code: 'TENANCY_ERR_RIGHTS_UNMET' })
        await superuser(`revoke usage on language plpgsql from "${database.appRole}"`)
      })

      it('when a connection begins with what its role is set to', async () => {
        const [ofA] = clientsOf(await openServer())
        await ofA.query(
          `alter role current_user in database "${database.database}" set search_path to "${a.namespace}"`,
        )
        const bare = barePool(database.appUrl, 1)
        opened.push({ close: () => bare.end() })
        const module = pg as unknown as PgModule
        const ofB = tenantPool(
          { pg: module, checkout: (ready) => checkoutFrom(bare as unknown as PgPool, 10_000, ready) },
          {
            queries: scopedQueries(module),
            scope: silentScope,
            scopeText: (text) => text,
            guard: open,
            pooled: false,
            sharesTables: false,
            onStatement: undefined,
          },
        ) as Pool
        expect((await ofB.query(UNQUALIFIED)).rows).toEqual([{ secret: 'of a' }])
      })

      it('through a function that runs any text, of which the start warns', async () => {
        await superuser(
          `create function extensions.runs(text text) returns void language plpgsql as $$ begin execute text; end $$`,
        )
        const server = testServer(database, { poolSize: 1, shared: qualified })
        opened.push(server)
        expect((await server.open()).join()).toContain('extensions.runs')
        const [ofA, ofB] = clientsOf(server)
        await ofA.query(`select extensions.runs('set search_path to "${a.namespace}"')`)
        expect((await ofB.query(UNQUALIFIED)).rows).toEqual([{ secret: 'of a' }])
        await superuser('drop function extensions.runs(text)')
      })

      it('through a function of an extension that does: the start refuses it, the script takes it away', async (ctx) => {
        const server = await openServer()
        const [ofA, ofB] = clientsOf(server)
        ctx.skip(!(await makeExtension(database, 'xml2')), 'this server has no xml2')
        const text = `select * from extensions.xpath_table('1', 'secret', '"${a.namespace}".items', '/s',
          'true; set search_path to "${a.namespace}"; select 1, ''<s>x</s>''') as t(id int, s text)`
        await ofA.query(text)
        expect((await ofB.query(UNQUALIFIED)).rows).toEqual([{ secret: 'of a' }])
        const signature = 'extensions.xpath_table(text, text, text, text, text)'
        for (const holder of ['public', `"${database.appRole}"`]) {
          await superuser(`grant execute on function ${signature} to ${holder}`)
          await expect(openServer()).rejects.toMatchObject({
            code: 'TENANCY_ERR_RIGHTS_UNMET',
            message: expect.stringContaining(
              `revoke execute on function ${signature} from public and the serving role`,
            ),
          })
          await runRolesScript(database, { qualified: true })
          expect(await codeOf(ofA.query(text))).toBe('42501')
        }
        await openServer()
        await superuser('drop extension xml2')
      })

      it('perhaps through one in a language that the start cannot read, of which it warns', async () => {
        await superuser(`create language other handler plpgsql_call_handler;
          create function extensions.tells() returns int language other as 'begin return 1; end'`)
        const server = testServer(database, { shared: qualified })
        opened.push(server)
        expect((await server.open()).join()).toContain('extensions.tells')
        await superuser('drop language other cascade')
      })
    })
  })
}

async function inTransaction(pool: Pool, text: string, end: 'commit' | 'rollback'): Promise<void> {
  const client = await pool.connect()
  await client.query('begin')
  await codeOf(client.query(text))
  await codeOf(client.query(end))
  client.release()
}

function codeOf(work: Promise<unknown>): Promise<string | undefined> {
  return work.then(
    () => undefined,
    (error: { code?: string }) => String(error.code),
  )
}
