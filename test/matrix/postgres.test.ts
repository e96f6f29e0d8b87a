import { describeWith } from '../servers/suite.ts'
import { pgCell, pgliteCell, pgliteStrategies, pgStrategies } from './postgres-cells.ts'
import { matrixSuite } from './suite.ts'

for (const name of ['postgres15', 'postgres18'] as const) {
  describeWith([name], name, (servers) => {
    for (const strategy of pgStrategies) matrixSuite(pgCell(name, servers[name].url, strategy))
  })
}

for (const strategy of pgliteStrategies) matrixSuite(pgliteCell(strategy))
