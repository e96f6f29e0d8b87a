import { describe } from 'vitest'
import { mysqlCell, mysqlStrategies } from '../matrix/mysql-cells.ts'
import { describeWith } from '../servers/suite.ts'
import { attackSuite } from './cell-suite.ts'

describeWith(['mariadb'], 'attack on every cell of MariaDB', ({ mariadb }) => {
  describe.each(mysqlStrategies)('$name', (strategy) => {
    attackSuite((poolSize) => mysqlCell('mariadb', mariadb.url, strategy, poolSize))
  })
})
