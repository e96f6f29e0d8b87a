import { sql } from 'drizzle-orm'
import { drizzle, type NodePgDatabase } from 'drizzle-orm/node-postgres'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { DatabaseServer } from '../../src/contracts/dialect.ts'
import type { IsolationStrategy, Scope } from '../../src/contracts/isolation.ts'
import { namespaceStrategy } from '../../src/isolation/namespace.ts'
import { rlsStrategy } from '../../src/isolation/rls.ts'
import { migrateNamespace } from '../../src/migrations/runner.ts'
import { rightsFor } from '../matrix/postgres-cells.ts'
import { type TestDatabase, withPort } from '../servers/database.ts'
import { describeWith } from '../servers/suite.ts'
import { startRenamingPooler } from '../support/renaming-pooler.ts'
import { asSuperuser, baselineDatabase, open, placedScope, sharedSchemas, testServer } from '../support/database.ts'

const statements = ['CREATE TABLE "items" ("tenant_id" uuid, "owner" text NOT NULL)']
const migrations = [{ name: 'm', file: 'm.sql', hash: 'm', createdAt: 1, statements }]

/** What a tenant's SQL could call if a migration or an extension were careless enough: any text, unseen by command tags. */
const RUN = `create or replace function extensions.run(what text) returns void language plpgsql as $$ begin execute what; end $$`
const SHOW = 'grant execute on function pg_catalog.pg_prepared_statement() to public'
const HIDE = 'revoke execute on function pg_catalog.pg_prepared_statement() from public'

const owners = sql.raw('select "owner" from "__tenant__"."items"')
const names = sql.raw(`select name, statement from pg_catalog.pg_prepared_statements`)
const run = (text: string) => sql`select extensions.run(${text})`

const cells: { name: string; strategy: IsolationStrategy; tenantRoles: boolean }[] = [
  { name: 'schema', strategy: namespaceStrategy('schema'), tenantRoles: false },
  { name: 'schema, tenantRoles', strategy: namespaceStrategy('schema'), tenantRoles: true },
  { name: 'rls', strategy: rlsStrategy(), tenantRoles: false },
]

describeWith(['postgres15', 'postgres18', 'pgbouncer15', 'pgbouncer18'], 'the name of a scope', (servers) => {
  describe.each([15, 18] as const)('PostgreSQL %i', (version) => {
    const { url } = servers[`postgres${version}`]
    const pooler = servers[`pgbouncer${version}`]

    describe.each(cells)('$name', ({ strategy, tenantRoles }) => {
      let database: TestDatabase
      let a: Scope
      let b: Scope
      const opened: DatabaseServer[] = []
      const superuser = (text: string) => asSuperuser(database, (client) => client.query(text))

      /** One connection, as new as its server. */
      const serve = async (options: { url?: string; poolSize?: number; pooled?: boolean } = {}) => {
        const server = testServer(database, {
          poolSize: 1,
          strategies: [strategy.name as 'schema'],
          shared: { ...sharedSchemas, ...(tenantRoles && { tenantRoles }) },
          ...options,
        })
        await server.open()
        opened.push(server)
        const of = (scope: Scope) => drizzle({ client: server.client(scope, open) as never }) as NodePgDatabase
        return { server, a: of(a), b: of(b) }
      }
      const ownersIn = async (db: NodePgDatabase) => (await db.execute(owners)).rows.map(({ owner }) => owner)
      const namesIn = async (db: NodePgDatabase) => (await db.execute(names)).rows.map(({ name }) => name as string)

      /** Another statement under the name. */
      const replaced = (name: string | undefined) => {
        const parameters = strategy.name === 'rls' || tenantRoles ? '(text, text, text, text)' : '(text, text)'
        return `deallocate "${name}"; prepare "${name}" ${parameters} as select 1`
      }

      beforeAll(async () => {
        database = await baselineDatabase(url, rightsFor(tenantRoles ? { tenantRoles } : {}))
        await superuser(RUN)
        a = placedScope(strategy)
        b = placedScope(strategy)
        const { server, ...of } = await serve()
        for (const [scope, db, owner] of [
          [a, of.a, 'a'],
          [b, of.b, 'b'],
        ] as const) {
          await migrateNamespace({ server, scope, migrations })
          await db.execute(
            strategy.name === 'rls'
              ? sql`insert into "__tenant__"."items" values (${scope.tenantId}, ${owner})`
              : sql`insert into "__tenant__"."items" values (null, ${owner})`,
          )
        }
      })
      afterAll(async () => {
        for (const server of opened) await server.close()
        await database.drop()
      })

      it('is parsed once on a connection, for all tenants', async () => {
        const db = await serve()
        for (let i = 0; i < 3; i++) {
          expect(await ownersIn(db.a)).toEqual(['a'])
          expect(await ownersIn(db.b)).toEqual(['b'])
        }
        await superuser(SHOW)
        const { rows } = await db.a.execute(names)
        await superuser(HIDE)
        expect(rows).toEqual([
          { name: expect.stringMatching(/^tenancy_[0-9a-f]{32}_0$/), statement: expect.stringMatching(/set_config/) },
        ])
      })

      it('is out of reach of a tenant', async () => {
        const { a } = await serve()
        await ownersIn(a)
        const refused = { cause: expect.objectContaining({ code: '42501' }) }
        await expect(a.execute(names)).rejects.toMatchObject(refused)
        await expect(a.execute(sql`select * from pg_catalog.pg_prepared_statement()`)).rejects.toMatchObject(refused)
        await expect(a.transaction((tx) => tx.execute(names))).rejects.toMatchObject(refused)
      })

      it('is not used where a tenant can read it', async () => {
        await superuser(SHOW)
        const db = await serve()
        for (let i = 0; i < 2; i++) {
          expect(await ownersIn(db.a)).toEqual(['a'])
          expect(await ownersIn(db.b)).toEqual(['b'])
        }
        expect(await namesIn(db.a)).toEqual([])
        await superuser(HIDE)
      })

      it('is not used behind a pooler', async () => {
        const db = await serve({ pooled: true })
        expect(await ownersIn(db.a)).toEqual(['a'])
        await superuser(SHOW)
        expect(await namesIn(db.a)).toEqual([])
        await superuser(HIDE)
      })

      it('may be dropped with all others: the scope goes without it, the statement is sent again', async () => {
        const db = await serve()
        expect(await ownersIn(db.a)).toEqual(['a'])
        await db.a.execute(run('deallocate all'))
        expect(await ownersIn(db.b)).toEqual(['b'])
        expect(await ownersIn(db.a)).toEqual(['a'])
        await db.a.execute(run('deallocate all'))
        expect(await db.b.transaction((tx) => tx.execute(owners).then(({ rows }) => rows))).toEqual([{ owner: 'b' }])
        await superuser(SHOW)
        expect(await namesIn(db.a)).toEqual([])
        await superuser(HIDE)
      })

      it('a statement that is sent again writes once', async () => {
        const db = await serve()
        await ownersIn(db.a)
        await db.a.execute(run('deallocate all'))
        await db.b.execute(sql.raw(`update "__tenant__"."items" set "owner" = "owner" || '!'`))
        expect(await ownersIn(db.b)).toEqual(['b!'])
        await db.b.execute(sql.raw(`update "__tenant__"."items" set "owner" = 'b'`))
      })

      it('a failing statement leaves it as it is', async () => {
        const db = await serve()
        await expect(db.a.execute(sql`select nonsense`)).rejects.toMatchObject({ cause: { code: '42703' } })
        await expect(db.b.execute(sql`execute nonsense`)).rejects.toMatchObject({ cause: { code: '26000' } })
        expect(await ownersIn(db.b)).toEqual(['b'])
        await superuser(SHOW)
        expect(await namesIn(db.b)).toHaveLength(1)
        await superuser(HIDE)
      })

      it('control: whoever knows it can serve the next tenant what they like', async () => {
        const db = await serve()
        await ownersIn(db.a)
        await superuser(SHOW)
        const [name] = await namesIn(db.a)
        await superuser(HIDE)
        await db.a.execute(run(replaced(name)))
        // The scope is another statement now: where it was to be set, the serving role reaches nothing.
        const read = strategy.name === 'rls' ? ownersIn(db.b) : db.b.execute(sql.raw('select "owner" from items'))
        expect(await read.catch(() => [])).toEqual([])
      })

      it('is given up where a pooler that is not told of gives it another, which can be guessed', async () => {
        const renaming = await startRenamingPooler(Number(new URL(url).port))
        const db = await serve({ url: withPort(database.appUrl, renaming.port) })
        expect(await ownersIn(db.a)).toEqual(['a'])
        await superuser(SHOW)
        expect(await namesIn(db.a)).toEqual(['POOLER_1'])
        await superuser(HIDE)
        await db.a.execute(run(replaced('POOLER_1')))
        expect(await ownersIn(db.b)).toEqual(['b'])
        expect((await db.b.execute(sql.raw('select "owner" from items'))).rows).toEqual([{ owner: 'b' }])
        await renaming.stop()
      })

      it('goes without it where a pooler is not told of', async () => {
        const hidden = await serve({ url: withPort(database.appUrl, pooler.port), poolSize: 8 })
        const reads = Array.from({ length: 300 }, (_, i) => (i % 2 === 0 ? hidden.a : hidden.b))
        expect(await Promise.all(reads.map(ownersIn))).toEqual(reads.map((db) => [db === hidden.a ? 'a' : 'b']))
      })
    })
  })
})
