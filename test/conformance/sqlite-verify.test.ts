import { existsSync, readdirSync, symlinkSync, unlinkSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Scope } from '../../src/contracts/isolation.ts'
import { outcomeOn } from '../../src/dialects/sqlite/verify/outcome.ts'
import { verifyScope } from '../../src/dialects/sqlite/verify/verify-scope.ts'
import { open } from '../support/database.ts'
import { newTenant, openSqlite, ownFile, type RawClient, rawClient, type SqliteServer } from '../support/sqlite.ts'

describe.each(['prefix', 'database'] as const)('[W52] verify on SQLite: %s', (strategy) => {
  let sqlite: SqliteServer
  const red = new Set<string>()
  beforeAll(async () => {
    sqlite = await openSqlite()
  })
  afterAll(() => sqlite?.close())

  const tenant = () => newTenant(sqlite, strategy, ['create table items (id integer primary key)'])
  const failed = async (scope: Scope, on = sqlite) => {
    const report = await on.server.verify(scope)
    const names = report.checks.filter(({ ok }) => !ok).map(({ name }) => name)
    expect(report.ok).toBe(names.length === 0)
    for (const one of names) red.add(one)
    return names
  }
  const prefixOf = ({ namespace }: Scope) => (strategy === 'prefix' ? `${namespace}__` : '')

  it('is green where it holds, several at once, and leaves nothing behind', async () => {
    const scope = await tenant()
    expect(await Promise.all([failed(scope), failed(scope), failed(scope)])).toEqual([[], [], []])
    const catalogue = `select name from sqlite_schema where name like '%canary%'`
    expect(await sqlite.server.admin.query(catalogue)).toEqual([])
    if (strategy === 'database') {
      expect((await rawClient(sqlite, scope).execute(catalogue)).rows).toEqual([])
      const files = readdirSync(`${sqlite.mainFile}.tenants`).filter((name) => name.endsWith('.db'))
      expect(files).toEqual([`${scope.namespace}.db`])
    }
  })

  it('goes red without the ledger, and when it is another tenant’s', async () => {
    const [one, other] = [await tenant(), await tenant()]
    expect(await failed({ ...one, tenantId: other.tenantId })).toEqual(['namespace'])
    await sqlite.server.destroy(other)
    expect(await failed(other)).toEqual(['namespace'])
    expect(existsSync(ownFile(sqlite, other))).toBe(false)
  })

  it.runIf(strategy === 'database')('goes red when a link is in its place, and does not follow it', async () => {
    const [one, other] = [await tenant(), await tenant()]
    await sqlite.server.destroy(other)
    symlinkSync(ownFile(sqlite, one), ownFile(sqlite, other))
    expect(await failed(other)).toEqual(['namespace'])
    unlinkSync(ownFile(sqlite, other))
  })

  it.runIf(strategy === 'prefix')('goes red when a table of somebody else refers to one of the tenant', async () => {
    const scope = await tenant()
    await sqlite.server.admin.query(`create table elsewhere (item integer references "${prefixOf(scope)}items" (id))`)
    expect(await failed(scope)).toEqual(['ties'])
    await sqlite.server.admin.query('drop table elsewhere')
    expect(await failed(scope)).toEqual([])
  })

  it('goes red when everybody is led to one tenant', async () => {
    const scope = await tenant()
    const misread = (text: string) =>
      text.replaceAll(/(?:"__tenant__"\.)?"(__tenancy_canary[^"]*)"/g, (_all, name: string) => `"__tenant__"."${name}"`)
    const over = (client: object) => ({ execute: (text: string) => (client as RawClient).execute(misread(text)) })
    const own = rawClient(sqlite, scope)
    const report = await verifyScope({
      scope,
      outcomeOn,
      server: {
        client: () => over(own),
        lazyTransaction: () => {
          const { client, commit, rollback } = sqlite.server.lazyTransaction(scope, open)
          return { client: over(client), commit, rollback }
        },
      },
      inside: async (_scope, work) =>
        sqlite.server.inNamespace(scope, async ({ run }) => {
          const query = async <TRow>(text: string, args: readonly unknown[] = []): Promise<TRow[]> =>
            text.includes('pragma_foreign_key_list')
              ? []
              : strategy === 'prefix'
                ? sqlite.server.admin.query<TRow>(text, args)
                : ((
                    await own.execute(
                      text.includes('sql from')
                        ? `select '/* fastify-tenancy tenant ${scope.tenantId} */' as sql`
                        : text,
                      args.length > 0 && !text.includes('sql from') ? args : undefined,
                    )
                  ).rows as TRow[])
          return work({ query, run })
        }),
      unscoped: async (work) => {
        const transaction = sqlite.server.lazyTransaction(scope, open)
        try {
          return await work(async <TRow>(text: string) => (await over(transaction.client).execute(text)).rows as TRow[])
        } finally {
          await transaction.rollback()
        }
      },
    })
    const found = report.checks.filter(({ ok }) => !ok).map(({ name }) => name)
    for (const one of found) red.add(one)
    for (const who of ['another tenant', 'no tenant'])
      for (const verb of ['read', 'insert', 'update', 'delete']) expect(found).toContain(`${who}: ${verb}`)
    expect(found.filter((one) => one.endsWith('by a plain name'))).toHaveLength(strategy === 'prefix' ? 4 : 0)
  })

  it('does not mistake a file that somebody holds for a breach', async () => {
    const small = await openSqlite({ poolTimeout: 1 }, sqlite)
    const scope = await tenant()
    const holding = small.server.lazyTransaction(scope, open)
    const table = strategy === 'prefix' ? '"__tenant__"."items"' : 'items'
    await (holding.client as RawClient).execute(`insert into ${table} (id) values (1)`)
    await expect(small.server.verify(scope)).rejects.toMatchObject({ code: 'TENANCY_ERR_POOL_TIMEOUT' })
    await holding.rollback()
    expect(await failed(scope, small)).toEqual([])
    await small.close()
  })
})
