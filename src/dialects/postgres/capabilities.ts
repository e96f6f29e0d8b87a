import type { Capabilities } from '../../contracts/isolation.ts'

/** What PostgreSQL carries whatever the driver. */
export const capabilities: Capabilities = Object.freeze({ schema: 'schema', rls: 'rls', prefix: 'prefix' })

/** What a server carries besides: the embedded one is a single database. */
export const serverCapabilities: Capabilities = Object.freeze({ ...capabilities, database: 'database' })
