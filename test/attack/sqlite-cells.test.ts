import { describe } from 'vitest'
import { sqliteCell, sqliteStrategies } from '../matrix/sqlite-cells.ts'
import { sqliteFileOfTheFirst, sqliteTextOfTheFirst } from './broken-cells.ts'
import { attackSuite } from './cell-suite.ts'

describe.each(sqliteStrategies)('attack on $name of SQLite', (strategy) => {
  // As many files are open at once as there are connections elsewhere, for twenty tenants.
  attackSuite(
    (poolSize, poolTimeout = 20) => sqliteCell(strategy, { maxOpenFiles: poolSize, poolTimeout }),
    strategy.name === 'prefix'
      ? { 'texts remembered without their tenant': sqliteTextOfTheFirst }
      : { 'one file for all': sqliteFileOfTheFirst },
  )
})
