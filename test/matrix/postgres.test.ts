import { describeWith } from '../servers/suite.ts'
import { pgCell, pgliteCell, pgliteVariants, pgVariants } from './postgres-cells.ts'
import { matrixSuite } from './suite.ts'

for (const name of ['postgres15', 'postgres18'] as const) {
  describeWith([name], name, (servers) => {
    for (const variant of pgVariants) matrixSuite(pgCell(name, servers[name].url, variant))
  })
}

for (const variant of pgliteVariants) matrixSuite(pgliteCell(variant))
