import { describe } from 'vitest'
import { describeWith } from '../servers/suite.ts'
import { pgliteSharedCell, pgSharedCell, sharingStrategies } from './postgres-cells.ts'
import { sharedSuite } from './suite.ts'

describeWith(['postgres15'], 'tables that all tenants share', ({ postgres15 }) => {
  for (const strategy of sharingStrategies) sharedSuite(pgSharedCell('postgres15', postgres15.url, strategy))
})

describe('tables that all tenants share', () => {
  for (const strategy of sharingStrategies) sharedSuite(pgliteSharedCell(strategy))
})
