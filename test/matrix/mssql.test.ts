import { describeMssql } from '../support/mssql.ts'
import { mssqlCell, mssqlStrategies } from './mssql-cells.ts'
import { matrixSuite } from './suite.ts'

describeMssql('SQL Server', (url) => {
  for (const strategy of mssqlStrategies) matrixSuite(mssqlCell(url, strategy))
})
