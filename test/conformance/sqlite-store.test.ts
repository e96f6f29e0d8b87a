import { rmSync } from 'node:fs'
import { createLockingTenantStore } from '../../src/tenants/locking-store.ts'
import { sqliteRegistry } from '../../src/tenants/sqlite-registry.ts'
import { openSqlite } from '../support/sqlite.ts'
import { describeTenantStore } from './store.ts'

describeTenantStore('SQLite', async () => {
  const file = await openSqlite()
  return {
    open: () => createLockingTenantStore(file.server.admin, sqliteRegistry),
    drop: async () => {
      await file.close()
      rmSync(file.folder, { recursive: true, force: true })
    },
  }
})
