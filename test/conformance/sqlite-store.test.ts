import { rmSync } from 'node:fs'
import { createLockingTenantStore } from '../../src/tenants/locking-store.ts'
import { sqliteRegistry } from '../../src/tenants/sqlite-registry.ts'
import { describeWith } from '../servers/suite.ts'
import { openBetterSqlite3, openSqlite } from '../support/sqlite.ts'
import { describeTenantStore } from './store.ts'

function describeStore(name: string, openFiles: typeof openBetterSqlite3): void {
  describeTenantStore(name, async () => {
    const file = await openFiles()
    return {
      open: () => createLockingTenantStore(file.server.admin, sqliteRegistry),
      drop: async () => {
        await file.close()
        rmSync(file.folder, { recursive: true, force: true })
      },
    }
  })
}

describeStore('SQLite', openSqlite)

describeWith(['better-sqlite3'], 'better-sqlite3', () => {
  describeStore('SQLite', openBetterSqlite3)
})
