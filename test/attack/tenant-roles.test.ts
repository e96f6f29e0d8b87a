import pg from 'pg'
import Cursor from 'pg-cursor'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { DatabaseServer } from '../../src/contracts/dialect.ts'
import type { Scope } from '../../src/contracts/isolation.ts'
import { scopedQueries, wireScope } from '../../src/dialects/postgres/drivers/pg-scoped-query.ts'
import { checkoutFrom } from '../../src/dialects/postgres/drivers/pg-pool.ts'
import { tenantPool } from '../../src/dialects/postgres/drivers/pg-tenant-pool.ts'
import type { PgModule, PgPool } from '../../src/dialects/postgres/drivers/pg-types.ts'
import { createPgliteServer } from '../../src/dialects/postgres/drivers/pglite-server.ts'
import { PGLITE_SERVING_ROLE } from '../../src/dialects/postgres/drivers/pglite-tenant-client.ts'
import { layoutOf } from '../../src/dialects/postgres/layout.ts'
import { scopeSql } from '../../src/dialects/postgres/scope-sql.ts'
import { migrateNamespace } from '../../src/migrations/runner.ts'
import { type TestDatabase, withPort } from '../servers/database.ts'
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
import { type Enemy, escapes, type Hostile, promotions, readings, SECRET, writings } from './hostile-statements.ts'
import { barePool } from './target.ts'

const walled = { ...sharedSchemas, tenantRoles: true }

const statements = [
  'CREATE TABLE items (id serial PRIMARY KEY, secret text NOT NULL)',
  'CREATE VIEW shown AS SELECT * FROM items',
  'CREATE FUNCTION reads() RETURNS text LANGUAGE plpgsql AS $$ begin return (select secret from items limit 1); end $$',
  `CREATE PROCEDURE writes() LANGUAGE plpgsql AS $$ begin insert into items (secret) values ('written'); end $$`,
]
const migrations = [{ name: 'm', file: 'm.sql', hash: 'm', createdAt: 1, statements }]

/** Reads and writes of a tenant in its own schema. */
const OWN = [
  `insert into items (secret) values ('mine') returning id`,
  `update items set secret = 'mine too' where secret = 'mine'`,
  `select * from shown`,
  `select reads()`,
  `call writes()`,
  `select nextval('items_id_seq')`,
  `select extensions.digest()`,
  `delete from items where secret <> 'of a'`,
]

/** What is left of unqualified names when somebody takes the path away. */
const NOT_THERE = ['42P01', '42883', '3F000']

interface Connection {
  query(config: unknown): Promise<{ rows: unknown[] }>
  release(error?: boolean): void
}
interface Pool {
  query(config: unknown): Promise<{ rows: unknown[] }>
  connect(): Promise<Connection>
}

/** How a statement ended: with its rows as text, or with a code. */
interface Outcome {
  readonly told: string
  readonly code: string
}

for (const version of ['15', '18'] as const) {
  describeWith([`postgres${version}`, `pgbouncer${version}`], `the wall on PostgreSQL ${version}`, (servers) => {
    let database: TestDatabase
    let a: Scope
    let b: Scope
    let enemy: Enemy
    const opened: { close(): Promise<void> }[] = []

    const openServer = async (through: Through, shared: typeof sharedSchemas = walled): Promise<DatabaseServer> => {
      const url =
        through === 'direct' ? database.appUrl : withPort(database.appUrl, servers[`pgbouncer${version}`].port)
      const server = testServer(database, { url, pooled: through === 'PgBouncer', poolSize: 1, shared })
      await server.open()
      opened.push(server)
      return server
    }
    const poolOf = async (scope: Scope, through: Through = 'direct') =>
      (await openServer(through)).client(scope, open) as Pool

    beforeAll(async () => {
      database = await baselineDatabase(servers[`postgres${version}`].url, { tenantRoles: true })
      const server = await openServer('direct')
      ;[a, b] = [schemaScope(), schemaScope()]
      for (const scope of [a, b]) await migrateNamespace({ server, scope, migrations })
      enemy = {
        schema: b.namespace,
        own: a.namespace,
        servingRole: database.appRole,
        adminRole: database.ownerRole,
      }
      await asSuperuser(database, (client) =>
        client.query(
          `insert into "${a.namespace}".items (secret) values ('of a');
           insert into "${b.namespace}".items (secret) values ('${SECRET}');
           create function extensions.digest() returns text language sql as 'select current_user::text'`,
        ),
      )
    })
    afterEach(async () => {
      for (const server of opened.splice(0)) await server.close()
      const [ofA, ofB] = await asSuperuser(database, async (client) => [
        (await client.query(`select secret from "${a.namespace}".items where secret ~ 'of b'`)).rows,
        (await client.query(`select secret from "${b.namespace}".items`)).rows,
      ])
      expect(ofA).toEqual([])
      expect(ofB).toEqual([{ secret: SECRET }])
    })
    afterAll(() => database?.drop())

    describe.each(['direct', 'PgBouncer'] as const)('%s', (through) => {
      it('a tenant works in its own schema, alone and in a transaction', async () => {
        const pool = await poolOf(a, through)
        for (const text of OWN) await pool.query({ text })
        const client = await pool.connect()
        await client.query('begin')
        for (const text of OWN) await client.query({ text })
        await client.query('commit')
        client.release()
        expect((await pool.query('select secret from items')).rows).toEqual([{ secret: 'of a' }])
      })

      it('every hostile statement is refused, alone', async () => {
        const pool = await poolOf(a, through)
        for (const hostile of hostiles(enemy))
          judge(hostile, await outcomeOf(pool.query({ text: hostile.text })), through)
        expect((await pool.query('select reads()')).rows).toEqual([{ reads: 'of a' }])
      })

      it('and in a transaction, whatever a statement before has done to the role', async () => {
        const pool = await poolOf(a, through)
        for (const escape of ['select 1', ...escapes(enemy)]) {
          const client = await pool.connect()
          await client.query('begin')
          for (const hostile of hostiles(enemy)) {
            await client.query('savepoint here')
            const escaped = await outcomeOf(client.query({ text: escape }))
            if (escaped.code === '') {
              judge(hostile, await outcomeOf(client.query({ text: hostile.text })), through, escape)
            } else expect(escaped.code).toBe('TENANCY_ERR_STATEMENT_REFUSED')
            await client.query('rollback to savepoint here')
          }
          expect((await client.query('select current_user::text as role')).rows).toEqual([{ role: a.namespace }])
          await client.query('commit')
          client.release()
        }
      }, 120_000)

      it('the next tenant on the connection is itself', async () => {
        const server = await openServer(through)
        const [ofA, ofB] = [a, b].map((scope) => server.client(scope, open) as Pool)
        for (const escape of escapes(enemy)) {
          await outcomeOf((ofA as Pool).query({ text: escape }))
          const client = await (ofA as Pool).connect()
          await outcomeOf(client.query({ text: escape }))
          judge(
            { text: `select * from "${b.namespace}".items` },
            await outcomeOf(client.query(`select * from "${b.namespace}".items`)),
          )
          client.release()
          const text = 'select current_user::text as role, reads() as secret'
          expect((await (ofB as Pool).query(text)).rows).toEqual([{ role: b.namespace, secret: SECRET }])
        }
      })
    })

    it('cursors are opened and read as the tenant, whatever came before', async () => {
      const client = await (await poolOf(a)).connect()
      await client.query('begin')
      await client.query(`set local role "${b.namespace}"`)
      const cursor = (client.query as unknown as (cursor: Cursor) => Cursor)(
        new Cursor(`select * from "${b.namespace}".items`),
      )
      await expect(cursor.read(1)).rejects.toMatchObject({ code: '42501' })
      await client.query('rollback')
      await client.query('begin')
      const late = `query_to_xml('select * from "${b.namespace}".items', true, false, '')`
      await client.query(
        `declare later cursor for select case when n > 1 then ${late} end from generate_series(1, 2) n`,
      )
      await client.query('fetch 1 from later')
      await client.query(`set local role "${b.namespace}"`)
      await expect(client.query('fetch 1 from later')).rejects.toMatchObject({ code: '42501' })
      await client.query('rollback')
      client.release()
    })

    it('a trigger that waits for the commit runs as the tenant', async () => {
      const schema = `"${a.namespace}"`
      await asSuperuser(database, (client) =>
        client.query(`create function ${schema}.tells() returns trigger language plpgsql as
            $$ begin execute 'select secret from "${b.namespace}".items' into strict new.secret; raise exception '%', new.secret; end $$;
          create constraint trigger tells after insert on ${schema}.items deferrable initially deferred for each row execute function ${schema}.tells()`),
      )
      const client = await (await poolOf(a)).connect()
      await client.query('begin')
      await client.query(`insert into items (secret) values ('x')`)
      await client.query(`set local role "${b.namespace}"`)
      const { code, told } = await outcomeOf(client.query('commit'))
      expect({ code, told }).toMatchObject({ code: '42501', told: expect.not.stringContaining(SECRET) })
      client.release()
      await asSuperuser(database, (superuser) => superuser.query(`drop function ${schema}.tells() cascade`))
    })

    it('the transaction of a request is walled too', async () => {
      const transaction = (await openServer('direct')).lazyTransaction(a, open)
      const pool = transaction.client as Pool
      await pool.query('select 1')
      for (const escape of escapes(enemy).slice(0, 3)) {
        await pool.query(escape)
        expect((await pool.query('select current_user::text as role')).rows).toEqual([{ role: a.namespace }])
      }
      judge({ text: 'read' }, await outcomeOf(pool.query(`select * from "${b.namespace}".items`)))
      await transaction.rollback()
    })

    describe('control: the attack crosses', () => {
      const stolen = async (pool: Pool, ...texts: string[]) => {
        const client = await pool.connect()
        await client.query('begin')
        let last = ''
        for (const text of texts) last = (await outcomeOf(client.query({ text }))).told
        await client.query('rollback')
        client.release(true)
        return last
      }

      it('without roles of tenants', async () => {
        const guarded = await baselineDatabase(servers[`postgres${version}`].url)
        const server = testServer(guarded, { poolSize: 1 })
        await server.open()
        for (const scope of [a, b]) await migrateNamespace({ server, scope, migrations })
        const pool = server.client(a, open) as Pool
        await (server.client(b, open) as Pool).query(`insert into items (secret) values ('${SECRET}')`)
        const crossed: string[] = []
        for (const { text } of readings(enemy)) if ((await stolen(pool, text)).includes(SECRET)) crossed.push(text)
        await server.close()
        await guarded.drop()
        expect(crossed.length).toBeGreaterThan(10)
      })

      it('when everybody may call set_config', async () => {
        const pool = await poolOf(a)
        const text = `with up as (select set_config('role', '${b.namespace}', true)) select query_to_xml('select * from "${b.namespace}".items', true, false, '') from up`
        expect(await stolen(pool, text)).not.toContain(SECRET)
        await asSuperuser(database, (client) =>
          client.query('grant execute on function set_config(text, text, boolean) to public'),
        )
        expect(await stolen(pool, text)).toContain(SECRET)
        await expect(openServer('direct')).rejects.toMatchObject({ code: 'TENANCY_ERR_RIGHTS_UNMET' })
        await asSuperuser(database, (client) =>
          client.query('revoke execute on function set_config(text, text, boolean) from public'),
        )
      })

      it('when everybody may write a block', async () => {
        const pool = await poolOf(a)
        const block = `do $$ begin execute 'set local role "${b.namespace}"'; raise exception '%', (select secret from "${b.namespace}".items); end $$`
        expect(await stolen(pool, block)).not.toContain(SECRET)
        await asSuperuser(database, (client) => client.query('grant usage on language plpgsql to public'))
        expect(await stolen(pool, block)).toContain(SECRET)
        await expect(openServer('direct')).rejects.toMatchObject({ code: 'TENANCY_ERR_RIGHTS_UNMET' })
        await asSuperuser(database, (client) => client.query('revoke usage on language plpgsql from public'))
      })

      it('when the role is not said again before each statement of a transaction', async () => {
        const texts = [`set local role "${b.namespace}"`, `select * from "${b.namespace}".items`]
        const bare = barePool(database.appUrl, 1)
        opened.push({ close: () => bare.end() })
        const module = pg as unknown as PgModule
        const once = { ...scopeSql(a, layoutOf(a, walled)), again: undefined }
        const pool = tenantPool(
          { pg: module, checkout: (ready) => checkoutFrom(bare as unknown as PgPool, 10_000, ready) },
          {
            queries: scopedQueries(module),
            scope: wireScope(module, once),
            scopeText: (text) => text,
            guard: open,
            pooled: false,
            sharesTables: false,
            onStatement: undefined,
          },
        ) as Pool
        expect(await stolen(await poolOf(a), ...texts)).not.toContain(SECRET)
        expect(await stolen(pool, ...texts)).toContain(SECRET)
      })

      it('through a function that runs any text, of which the start warns', async () => {
        const name = 'extensions.runs'
        await asSuperuser(database, (client) =>
          client.query(
            `create function ${name}(text text) returns void language plpgsql as $$ begin execute text; end $$`,
          ),
        )
        const server = testServer(database, { poolSize: 1, shared: walled })
        opened.push(server)
        expect((await server.open()).join()).toContain(name)
        const pool = server.client(a, open) as Pool
        const text = `select ${name}('set local role "${b.namespace}"'), query_to_xml('select * from "${b.namespace}".items', true, false, '')`
        expect(await stolen(pool, text)).toContain(SECRET)
        await asSuperuser(database, (client) => client.query(`drop function ${name}(text)`))
      })

      it('through a function of an extension that does: the start refuses it, the script takes it away', async (ctx) => {
        const pool = await poolOf(a)
        const text = `select * from extensions.xpath_table('id', 'secret', 'items', '/s',
          'true; set local role "${b.namespace}"; select id, ''<s>'' || secret || ''</s>'' from "${b.namespace}".items') as t(id int, s text)`
        ctx.skip(!(await makeExtension(database, 'xml2')), 'this server has no xml2')
        expect(await stolen(pool, text)).toContain(SECRET)
        await expect(openServer('direct')).rejects.toMatchObject({
          code: 'TENANCY_ERR_RIGHTS_UNMET',
          message: expect.stringMatching(/revoke execute on function extensions\.xpath_table\(text.*\) from public/),
        })
        await runRolesScript(database, { tenantRoles: true })
        expect((await outcomeOf(pool.query({ text }))).code).toBe('42501')
        await openServer('direct')
        await asSuperuser(database, (client) => client.query('drop extension xml2'))
      })

      it('perhaps through one in a language that the start cannot read, of which it warns', async () => {
        await asSuperuser(database, (client) =>
          client.query(`create language other handler plpgsql_call_handler;
            create function extensions.tells() returns int language other as 'begin return 1; end'`),
        )
        const server = testServer(database, { shared: walled })
        opened.push(server)
        expect((await server.open()).join()).toContain('extensions.tells')
        await asSuperuser(database, (client) => client.query('drop language other cascade'))
      })
    })
  })
}

describe('the wall on PGlite', () => {
  let server: DatabaseServer
  let a: Scope
  let b: Scope
  let enemy: Enemy
  const admin = (text: string) => server.admin.query(text)

  beforeAll(async () => {
    server = createPgliteServer({
      folder: undefined,
      registrySchema: 'tenancy',
      shared: walled,
      poolTimeout: 60,
      onStatement: undefined,
    })
    expect(await server.open()).toEqual([expect.stringContaining('in memory')])
    ;[a, b] = [schemaScope(), schemaScope()]
    for (const scope of [a, b]) await migrateNamespace({ server, scope, migrations })
    enemy = { schema: b.namespace, own: a.namespace, servingRole: PGLITE_SERVING_ROLE, adminRole: 'postgres' }
    await admin(`insert into "${a.namespace}".items (secret) values ('of a')`)
    await admin(`insert into "${b.namespace}".items (secret) values ('${SECRET}')`)
  }, 60_000)
  afterEach(async () => {
    expect(await admin(`select secret from "${b.namespace}".items`)).toEqual([{ secret: SECRET }])
    expect(await admin(`select secret from "${a.namespace}".items`)).toEqual([{ secret: 'of a' }])
  })
  afterAll(() => server?.close())

  it('every hostile statement is refused, alone', async () => {
    const client = server.client(a, open) as PgliteClient
    for (const hostile of hostiles(enemy)) judge(hostile, await outcomeOf(client.query(hostile.text)), 'PGlite')
  })

  it('and in a transaction, whatever a statement before has done to the role', async () => {
    const client = server.client(a, open) as PgliteClient
    for (const escape of ['select 1', ...escapes(enemy)]) {
      const transaction = client.transaction(async (tx) => {
        for (const hostile of hostiles(enemy)) {
          await tx.query('savepoint here')
          const escaped = await outcomeOf(tx.query(escape))
          if (escaped.code === '') judge(hostile, await outcomeOf(tx.query(hostile.text)), 'PGlite', escape)
          else expect(escaped.code).toBe('TENANCY_ERR_STATEMENT_REFUSED')
          await tx.query('rollback to savepoint here')
        }
        throw new Error('done')
      })
      await expect(transaction).rejects.toThrow('done')
    }
  }, 120_000)

  it('control: the attack crosses when everybody may call set_config', async () => {
    const client = server.client(a, open) as PgliteClient
    const text = `with up as (select set_config('role', '${b.namespace}', true)) select query_to_xml('select * from "${b.namespace}".items', true, false, '') from up`
    await admin('grant execute on function set_config(text, text, boolean) to public')
    expect((await outcomeOf(client.query(text))).told).toContain(SECRET)
    await admin('revoke execute on function set_config(text, text, boolean) from public')
    expect((await outcomeOf(client.query(text))).told).not.toContain(SECRET)
  })

  it('the role goes with the tenant', async () => {
    const scope = schemaScope()
    await migrateNamespace({ server, scope, migrations })
    await server.destroy(scope)
    expect(await admin(`select from pg_roles where rolname = '${scope.namespace}'`)).toEqual([])
  })
})

interface PgliteClient {
  query(text: string): Promise<{ rows: unknown[] }>
  transaction<T>(work: (transaction: { query(text: string): Promise<{ rows: unknown[] }> }) => Promise<T>): Promise<T>
}

type Through = 'direct' | 'PgBouncer' | 'PGlite'

function hostiles(enemy: Enemy): Hostile[] {
  return [...readings(enemy), ...writings(enemy), ...promotions(enemy)]
}

async function outcomeOf(work: Promise<{ rows: unknown[] }>): Promise<Outcome> {
  try {
    return { told: JSON.stringify((await work).rows), code: '' }
  } catch (error) {
    const { code, message } = error as { code?: unknown; message?: unknown }
    return { told: String(message), code: String(code) }
  }
}

/** Nothing is told, and it is refused as it must be. */
function judge(
  { text, refused = '42501' }: Hostile,
  { told, code }: Outcome,
  through: Through = 'direct',
  escape = '',
): void {
  expect(told, text).not.toContain(SECRET)
  const expected = [refused === 'harmless' ? '' : refused]
  // PostgreSQL 15 looks for the transaction first.
  if (text.startsWith('lock')) expected.push('25P01')
  // Behind a pooler we refuse what would outlive the transaction, before the server could.
  if (through !== 'direct') expected.push('TENANCY_ERR_STATEMENT_REFUSED')
  if (escape.includes('search_path') || escape === 'reset all') expected.push(...NOT_THERE)
  expect(expected, `${escape}; ${text}: ${told}`).toContain(code)
}
