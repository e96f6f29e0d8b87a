import { describe } from 'vitest'
import { pgCell, pgStrategies } from '../matrix/postgres-cells.ts'
import { describeWith } from '../servers/suite.ts'
import { type OpenBrokenCell, pgDatabaseOfTheFirst, pgScopeOfTheFirst, pgTextOfTheFirst } from './broken-cells.ts'
import { attackSuite } from './cell-suite.ts'

const broken: Readonly<Record<string, Readonly<Record<string, OpenBrokenCell>>>> = {
  schema: { 'a scope that is made once': pgScopeOfTheFirst },
  rls: { 'a scope that is made once': pgScopeOfTheFirst },
  prefix: { 'texts remembered without their tenant': pgTextOfTheFirst },
  database: { 'connections kept without their database': pgDatabaseOfTheFirst },
}

describeWith(['postgres15'], 'attack on every cell of PostgreSQL', ({ postgres15 }) => {
  describe.each(pgStrategies)('$name', (strategy) => {
    attackSuite((...pool) => pgCell('postgres15', postgres15.url, strategy, ...pool), broken[strategy.name] ?? {})
  })
})
