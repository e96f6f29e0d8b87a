import { describeWith } from '../servers/suite.ts'
import { betterSqlite3Cell, sqliteCell, sqliteStrategies } from './sqlite-cells.ts'
import { matrixSuite } from './suite.ts'

for (const strategy of sqliteStrategies) matrixSuite(sqliteCell(strategy))

describeWith(['better-sqlite3'], 'better-sqlite3', () => {
  for (const strategy of sqliteStrategies) matrixSuite(betterSqlite3Cell(strategy))
})
