import { mysqlStrategies } from '../matrix/mysql-cells.ts'
import { describeWith } from '../servers/suite.ts'
import { mysqlSharedCell } from './mysql-cells.ts'
import { sharedSuite } from './suite.ts'

describeWith(['mariadb'], 'tables that all tenants share', ({ mariadb }) => {
  for (const strategy of mysqlStrategies) sharedSuite(mysqlSharedCell('MariaDB', mariadb.url, strategy))
})
