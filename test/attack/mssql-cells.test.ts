import mssql from 'mssql'
import { describe } from 'vitest'
import { openPool } from '../../src/dialects/mssql/drivers/mssql-pool.ts'
import { tenantPool } from '../../src/dialects/mssql/drivers/mssql-tenant-pool.ts'
import { type IsolationStrategy, TENANT_SETTING } from '../../src/contracts/isolation.ts'
import type { MssqlModule } from '../../src/dialects/mssql/drivers/mssql-types.ts'
import { parseMssqlUrl } from '../../src/dialects/mssql/drivers/mssql-url.ts'
import { layoutOf } from '../../src/dialects/mssql/layout.ts'
import { mssqlProfile } from '../../src/dialects/mssql/profile.ts'
import { rlsStrategy } from '../../src/isolation/rls.ts'
import { createTextScoper } from '../../src/sql/scoped-text.ts'
import { mssqlCell, mssqlStrategies } from '../matrix/mssql-cells.ts'
import { open } from '../support/database.ts'
import { describeMssql, hasPolicies, secondsToConnect, sharedSchemas } from '../support/mssql.ts'
import type { OpenBrokenCell } from './broken-cells.ts'
import { attackSuite } from './cell-suite.ts'

const driver = mssql as MssqlModule

/** A bare pool, on which a broken client speaks. */
const poolOn = (url: string) =>
  openPool(driver, {
    address: parseMssqlUrl(url),
    keep: 5,
    max: 5,
    timeoutMs: 10_000,
    recycleMs: 3_600_000,
    abortOnError: false,
  })

/** Written texts are remembered by the text alone: all get the names of whoever sent it first. */
const textOfTheFirst: OpenBrokenCell = (url) => {
  const pool = poolOn(url)
  const scopeText = createTextScoper(mssqlProfile)
  const written = new Map<string, string>()
  return {
    clientOf: (scope) =>
      tenantPool(pool, {
        guard: open,
        scopeText(text) {
          const known = written.get(text) ?? scopeText(layoutOf(scope, sharedSchemas).naming)(text)
          written.set(text, known)
          return known
        },
        tenant: undefined,
        onStatement: undefined,
      }),
    close: () => pool.end(0),
  }
}

/** Every second tenant leaves the session as the one before it had it. */
const sessionOfTheLast: OpenBrokenCell = (url) => {
  const pool = poolOn(url)
  const scopeText = createTextScoper(mssqlProfile)
  let clients = 0
  return {
    clientOf: (scope) =>
      tenantPool(pool, {
        guard: open,
        scopeText: scopeText(layoutOf(scope, sharedSchemas).naming),
        tenant:
          clients++ % 2 === 0
            ? { value: scope.settings[TENANT_SETTING] ?? null, type: driver.NVarChar(36) }
            : undefined,
        onStatement: undefined,
      }),
    close: () => pool.end(0),
  }
}

/** To log in is several network turns there. A server that is opened needs a connection in this time. */
const tooShort = await secondsToConnect()

describeMssql('attack on every cell of SQL Server', (url) => {
  const attacked = (strategy: IsolationStrategy, broken: Parameters<typeof attackSuite>[1]) =>
    describe(strategy.name, () => {
      attackSuite((...pool) => mssqlCell(url, strategy, ...pool), broken, undefined, tooShort)
    })
  for (const strategy of mssqlStrategies)
    attacked(strategy, { 'texts remembered without their tenant': textOfTheFirst })
  if (hasPolicies) attacked(rlsStrategy(), { 'a tenant that does not set the session': sessionOfTheLast })
})
