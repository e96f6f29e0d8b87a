import { describeWith } from '../servers/suite.ts'
import { mysqlCell, mysqlStrategies } from './mysql-cells.ts'
import { matrixSuite } from './suite.ts'

describeWith(['mariadb'], 'mariadb', ({ mariadb }) => {
  for (const strategy of mysqlStrategies) matrixSuite(mysqlCell('mariadb', mariadb.url, strategy))
})
