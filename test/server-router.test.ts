import { randomUUID } from 'node:crypto'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { DatabaseServer } from '../src/contracts/dialect.ts'
import type { Scope } from '../src/contracts/isolation.ts'
import { strategyNames } from '../src/contracts/tenant.ts'
import { createPgServer } from '../src/dialects/postgres/drivers/pg-server.ts'
import { createMssqlServer } from '../src/dialects/mssql/drivers/mssql-server.ts'
import { createMysqlServer } from '../src/dialects/mysql/drivers/mysql-server.ts'
import { createPgliteServer } from '../src/dialects/postgres/drivers/pglite-server.ts'
import { generateNamespace } from '../src/util/identifier.ts'
import { patientServer } from '../src/patient-server.ts'
import { routeToServers } from '../src/server-router.ts'
import { open, sharedSchemas } from './support/database.ts'
import { openSqlite } from './support/sqlite.ts'

const embedded = (): DatabaseServer =>
  createPgliteServer({
    folder: undefined,
    registrySchema: 'tenancy',
    shared: sharedSchemas,
    poolTimeout: 5,
    onStatement: undefined,
  })
const limits = {
  poolSize: 1,
  maxOverflow: 0,
  poolTimeout: 1,
  poolRecycle: 60,
  strategies: strategyNames,
  registrySchema: 'tenancy',
  onStatement: undefined,
}

function scopeOn(server: string, strategy: Scope['strategy'] = 'schema'): Scope {
  const tenantId = randomUUID()
  return { tenantId, server, namespace: generateNamespace(tenantId), strategy, settings: {} }
}

describe('the router', () => {
  it.each(['nowhere', '', '__proto__', 'constructor', 'Main'])('sends what is for %j nowhere', async (name) => {
    const router = routeToServers({ main: embedded(), others: new Map([['eu', embedded()]]), strategies: ['schema'] })
    const scope = scopeOn(name)
    const missing = { code: 'TENANCY_ERR_SERVER_NOT_CONFIGURED', statusCode: 503 }
    expect(() => router.client(scope, open)).toThrow(expect.objectContaining(missing) as Error)
    expect(() => router.lazyTransaction(scope, open)).toThrow(expect.objectContaining(missing) as Error)
    expect(() => router.parseDdl('create table a (b int)').render(scope)).toThrow(
      expect.objectContaining(missing) as Error,
    )
    await expect(router.inNamespace(scope, async () => {})).rejects.toMatchObject(missing)
    await expect(router.destroy(scope)).rejects.toMatchObject(missing)
    expect(() => router.forget?.(scope)).not.toThrow()
  })

  it('and a patient server hand on everything that a server has', async () => {
    const url = 'postgres://a@127.0.0.1:1/x'
    const postgres = createPgServer({
      ...limits,
      url,
      adminUrl: url,
      pooled: false,
      registrySchema: 'tenancy',
      shared: sharedSchemas,
    })
    const mysql = createMysqlServer({ ...limits, url: 'mysql://a@127.0.0.1:1/x', adminUrl: 'mysql://a@127.0.0.1:1/x' })
    const { server: sqlite, close } = await openSqlite()
    onTestFinished(close)
    const wraps = [
      patientServer(postgres, { name: 'eu', warn: () => {} }),
      routeToServers({ main: postgres, others: new Map(), strategies: [] }),
    ]
    const place = 'mssql://a@127.0.0.1:1/x'
    const mssql = createMssqlServer({ ...limits, url: place, adminUrl: place, registrySchema: 'tenancy' } as never)
    for (const server of [postgres, mysql, mssql, sqlite, embedded()]) {
      for (const wrap of wraps) expect(Object.keys(wrap)).toEqual(expect.arrayContaining(Object.keys(server)))
    }
  })

  it('refuses a server that carries less than main, by name', () => {
    const full = createPgServer({
      ...limits,
      url: 'postgres://a@127.0.0.1:1/x',
      adminUrl: 'postgres://a@127.0.0.1:1/x',
      pooled: false,
      registrySchema: 'tenancy',
      shared: sharedSchemas,
    })
    const others = new Map([['small', embedded()]])
    expect(() => routeToServers({ main: full, others, strategies: ['schema', 'database'] })).toThrow(
      expect.objectContaining({
        code: 'TENANCY_ERR_CONFIG_INVALID',
        message: expect.stringContaining(
          '- servers: "small" does not carry the isolation strategy "database"',
        ) as string,
      }) as Error,
    )
    expect(() => routeToServers({ main: full, others, strategies: ['schema', 'rls', 'prefix'] })).not.toThrow()
  })

  it('writes a migration for the server of the tenant, read once for each', () => {
    const reads: string[] = []
    const serverIn = (database: string): DatabaseServer => {
      const url = `mysql://a@127.0.0.1:1/${database}`
      const server = createMysqlServer({ ...limits, url, adminUrl: url })
      return { ...server, parseDdl: (text) => (reads.push(database), server.parseDdl(text)) }
    }
    const router = routeToServers({
      main: serverIn('here'),
      others: new Map([['eu', serverIn('there')]]),
      strategies: ['prefix'],
    })
    const template = router.parseDdl('create table `notes` (`id` int)')
    const [home, abroad] = [scopeOn('main', 'prefix'), scopeOn('eu', 'prefix')]
    for (let round = 0; round < 3; round++) {
      expect(template.render(home)).toContain(`\`here\`.\`${home.namespace}__notes\``)
      expect(template.render(abroad)).toContain(`\`there\`.\`${abroad.namespace}__notes\``)
    }
    expect(reads).toEqual(['here', 'there'])
  })

  it('[W69] closes every server, also after one that fails', async () => {
    const opened = await Promise.all([openSqlite(), openSqlite(), openSqlite()])
    onTestFinished(async () => void (await Promise.all(opened.map(({ close }) => close()))))
    const [main, broken, last] = opened.map(({ server }) => server) as [DatabaseServer, DatabaseServer, DatabaseServer]
    const failing = new Error('cannot')
    const router = routeToServers({
      main,
      others: new Map([
        ['broken', { ...broken, close: () => broken.close().then(() => Promise.reject(failing)) }],
        ['last', last],
      ]),
      strategies: ['schema'],
    })
    await expect(router.close()).rejects.toBe(failing)
    for (const server of [main, broken, last])
      await expect(server.ping()).rejects.toMatchObject({ code: 'TENANCY_ERR_CLOSED' })
  })
})
