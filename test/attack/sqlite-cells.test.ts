import { describe } from 'vitest'
import { betterSqlite3Cell, sqliteCell, sqliteStrategies } from '../matrix/sqlite-cells.ts'
import { describeWith } from '../servers/suite.ts'
import {
  betterFileOfTheFirst,
  betterTextOfTheFirst,
  type OpenBrokenCell,
  sqliteFileOfTheFirst,
  sqliteTextOfTheFirst,
} from './broken-cells.ts'
import { attackSuite } from './cell-suite.ts'

// As many files are open at once as there are connections elsewhere, for twenty tenants.
function attackOn(
  cell: typeof sqliteCell,
  strategy: (typeof sqliteStrategies)[number],
  { text, file }: Readonly<Record<'text' | 'file', OpenBrokenCell>>,
): void {
  attackSuite(
    (poolSize, poolTimeout = 20) => cell(strategy, { maxOpenFiles: poolSize, poolTimeout }),
    strategy.name === 'prefix' ? { 'texts remembered without their tenant': text } : { 'one file for all': file },
  )
}

describe.each(sqliteStrategies)('attack on $name of SQLite', (strategy) => {
  attackOn(sqliteCell, strategy, { text: sqliteTextOfTheFirst, file: sqliteFileOfTheFirst })
})

describeWith(['better-sqlite3'], 'better-sqlite3', () => {
  describe.each(sqliteStrategies)('attack on $name of SQLite', (strategy) => {
    attackOn(betterSqlite3Cell, strategy, { text: betterTextOfTheFirst, file: betterFileOfTheFirst })
  })
})
