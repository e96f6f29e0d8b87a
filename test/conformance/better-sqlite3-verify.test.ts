import { unlinkSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { DatabaseServer } from '../../src/contracts/dialect.ts'
import type { Scope } from '../../src/contracts/isolation.ts'
import type { SyncSession } from '../../src/dialects/sqlite/drivers/better-sqlite3-client.ts'
import { betterSqlite3Driver } from '../../src/dialects/sqlite/drivers/better-sqlite3-server.ts'
import { createSqliteServer } from '../../src/dialects/sqlite/server.ts'
import { describeWith } from '../servers/suite.ts'
import { twoTenants } from '../support/better-sqlite3.ts'
import { openBetterSqlite3, ownFile, type SqliteServer } from '../support/sqlite.ts'

describeWith(['better-sqlite3'], 'verify with better-sqlite3', () => {
  describe.each(['database', 'prefix'] as const)('under %s', (strategy) => {
    let files: SqliteServer
    let a: Scope
    let b: Scope
    beforeAll(async () => {
      files = await openBetterSqlite3()
      ;[a, b] = await twoTenants(files, strategy)
    })
    afterAll(() => files.close())
    const failed = async (server: Pick<DatabaseServer, 'verify'>, scope: Scope) =>
      (await server.verify(scope)).checks.filter(({ ok }) => !ok).map(({ name }) => name)
    const objects = () => files.server.admin.query(`select name from sqlite_schema where name like '%canary%'`)

    it('is green, and leaves nothing behind', async () => {
      for (const scope of [a, b]) expect(await failed(files.server, scope)).toEqual([])
      expect(await objects()).toEqual([])
    })

    it('waits for who is registering others meanwhile', async () => {
      const [found] = await Promise.all([
        failed(files.server, a),
        ...Array.from({ length: 5 }, () => twoTenants(files, strategy)),
        // Across turns of the event loop, as one that waits for another process does.
        files.server.inNamespace(b, () => sleep(150)),
      ])
      expect(found).toEqual([])
    })

    it('goes red when everybody is led to one tenant', async () => {
      let first: SyncSession | undefined
      const leading = (session: SyncSession) => (first ??= session)
      const server = createSqliteServer(
        {
          url: `file:${join(files.folder, 'app.db')}`,
          tenantFolder: undefined,
          maxOpenFiles: 20,
          poolTimeout: 5,
          onStatement: undefined,
        },
        {
          ...betterSqlite3Driver,
          client: (session) => betterSqlite3Driver.client(session.namespace === undefined ? session : leading(session)),
          trial: {
            ...betterSqlite3Driver.trial,
            lazyTransaction: (session, timeoutMs) =>
              betterSqlite3Driver.trial.lazyTransaction(leading(session), timeoutMs),
          },
        },
      )
      await server.open()
      const found = await failed(server, a)
      for (const verb of ['read', 'insert', 'update', 'delete']) expect(found).toContain(`another tenant: ${verb}`)
      await server.close()
    })

    it('goes red when the place of a tenant is gone', async () => {
      const [gone] = await twoTenants(files, strategy)
      files.server.forget?.(gone)
      if (strategy === 'database') unlinkSync(ownFile(files, gone))
      else await files.server.admin.query(`drop table "${gone.namespace}____drizzle_migrations"`)
      const found = await failed(files.server, gone).catch((error: unknown) => [String(error)])
      expect(found.join()).toMatch(/namespace/)
    })
  })
})
