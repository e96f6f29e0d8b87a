import { sqliteCell, sqliteStrategies } from './sqlite-cells.ts'
import { matrixSuite } from './suite.ts'

for (const strategy of sqliteStrategies) matrixSuite(sqliteCell(strategy))
