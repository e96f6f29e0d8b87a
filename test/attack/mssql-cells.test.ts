import mssql from 'mssql'
import { describe } from 'vitest'
import { openPool } from '../../src/dialects/mssql/drivers/mssql-pool.ts'
import { tenantPool } from '../../src/dialects/mssql/drivers/mssql-tenant-pool.ts'
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

/** Written texts are remembered by the text alone: all get the names of whoever sent it first. */
const textOfTheFirst: OpenBrokenCell = (url) => {
  const pool = openPool(mssql as MssqlModule, {
    address: parseMssqlUrl(url),
    keep: 5,
    max: 5,
    timeoutMs: 10_000,
    recycleMs: 3_600_000,
    abortOnError: false,
  })
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

/** To log in is several network turns there. A server that is opened needs a connection in this time. */
const tooShort = await secondsToConnect()

describeMssql('attack on every cell of SQL Server', (url) => {
  const strategies = hasPolicies ? [...mssqlStrategies, rlsStrategy()] : mssqlStrategies
  describe.each(strategies)('$name', (strategy) => {
    attackSuite(
      (...pool) => mssqlCell(url, strategy, ...pool),
      { 'texts remembered without their tenant': textOfTheFirst },
      undefined,
      tooShort,
    )
  })
})
