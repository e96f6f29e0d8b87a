import { describe } from 'vitest'
import { mysqlCell, mysqlStrategies } from '../matrix/mysql-cells.ts'
import { describeWith } from '../servers/suite.ts'
import { mysqlTextOfTheFirst } from './broken-cells.ts'
import { attackSuite } from './cell-suite.ts'

describeWith(['mariadb'], 'attack on every cell of MariaDB', ({ mariadb }) => {
  describe.each(mysqlStrategies)('$name', (strategy) => {
    attackSuite((...pool) => mysqlCell('mariadb', mariadb.url, strategy, ...pool), {
      'texts remembered without their tenant': mysqlTextOfTheFirst,
    })
  })
})
