import { describe, test, vi } from 'vitest'
import { namespaceStrategy } from '../../src/isolation/namespace.ts'
import { rlsStrategy } from '../../src/isolation/rls.ts'
import { describeMssql, hasPolicies } from '../support/mssql.ts'
import { mssqlSharedCell } from './mssql-cells.ts'
import { sharedSuite } from './suite.ts'

// A server may be slow at its catalogue.
vi.setConfig({ testTimeout: 120_000 })

describeMssql('tables that all tenants share', (url) => {
  for (const name of ['schema', 'prefix'] as const) sharedSuite(mssqlSharedCell(url, namespaceStrategy(name)))
  if (hasPolicies) sharedSuite(mssqlSharedCell(url, rlsStrategy()))
  else describe.skip('rls (NOT RUN: this server has no security policies)', () => test('not run', () => {}))
})
