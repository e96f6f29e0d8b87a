import { describe } from 'vitest'
import { pgliteCell, pgliteVariants } from '../matrix/postgres-cells.ts'
import { pgliteClientOfTheFirst } from './broken-cells.ts'
import { attackSuite } from './cell-suite.ts'

describe.each(pgliteVariants)('attack on $name of PGlite', (variant) => {
  attackSuite(
    (_poolSize, poolTimeout) => pgliteCell(variant, poolTimeout),
    { 'a client that is made once': pgliteClientOfTheFirst },
    [1],
  )
})
