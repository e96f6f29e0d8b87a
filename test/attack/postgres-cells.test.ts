import { describe } from 'vitest'
import { pgCell, pgStrategies } from '../matrix/postgres-cells.ts'
import { describeWith } from '../servers/suite.ts'
import { attackSuite } from './cell-suite.ts'

describeWith(['postgres15'], 'attack on every cell of PostgreSQL', ({ postgres15 }) => {
  describe.each(pgStrategies)('$name', (strategy) => {
    attackSuite((poolSize) => pgCell('postgres15', postgres15.url, strategy, poolSize))
  })
})
