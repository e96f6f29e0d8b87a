import { describe, test } from 'vitest'
import { rlsStrategy } from '../../src/isolation/rls.ts'
import { describeMssql, hasPolicies } from '../support/mssql.ts'
import { mssqlCell, mssqlStrategies } from './mssql-cells.ts'
import { matrixSuite } from './suite.ts'

describeMssql('SQL Server', (url) => {
  for (const strategy of mssqlStrategies) matrixSuite(mssqlCell(url, strategy))
  if (hasPolicies) matrixSuite(mssqlCell(url, rlsStrategy()))
  else describe.skip('rls (NOT RUN: this server has no security policies)', () => test('not run', () => {}))
})
