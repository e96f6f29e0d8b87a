import { afterAll, beforeAll, expect, it } from 'vitest'
import { type TestDatabase, withPort } from '../servers/database.ts'
import { describeWith } from '../servers/suite.ts'
import { baselineDatabase } from '../support/database.ts'
import { attack, type Findings } from './attack.ts'
import {
  type BrokenScoping,
  lastUsedContext,
  scopeThatStays,
  sessionWithoutReset,
  setOnOneConnection,
} from './broken-scopings.ts'
import { inspectableOnly } from './operation.ts'
import { type Attacked, provisionTenants, scopedTarget } from './target.ts'

const OPERATIONS = 600

describeWith(
  ['postgres15', 'pgbouncer15'],
  'the attack finds scopings that are wrong',
  ({ postgres15, pgbouncer15 }) => {
    let database: TestDatabase
    let tenants: Attacked[]

    beforeAll(async () => {
      database = await baselineDatabase(postgres15.url)
    })
    afterAll(() => database?.drop())

    const run = async (
      scoping: BrokenScoping,
      poolSize: number,
      through: 'direct' | 'PgBouncer' = 'direct',
    ): Promise<Findings> => {
      tenants = await provisionTenants(database, 50)
      const url = through === 'direct' ? database.appUrl : withPort(database.appUrl, pgbouncer15.port)
      const target = await scoping(database, url, poolSize)
      const options = { database, target, tenants, operations: OPERATIONS, workers: 12, seed: 7, only: inspectableOnly }
      const findings = await attack(options)
      await target.close()
      return findings
    }

    it('finds nothing in the product with the same run', async () => {
      expect(await run(scopedTarget, 5)).toMatchObject({ foreign: 0, leftOver: 0, wrong: 0, samples: [] })
    })

    it('finds left-over settings and foreign rows of a SET that nobody takes back', async () => {
      const findings = await run(sessionWithoutReset, 5)
      expect(findings.leftOver).toBeGreaterThan(0)
      expect(findings.foreign).toBeGreaterThan(0)
    })

    it('[W64] finds foreign rows of a SET that PgBouncer keeps for somebody else', async () => {
      const findings = await run(sessionWithoutReset, 5, 'PgBouncer')
      expect(findings.foreign).toBeGreaterThan(0)
    })

    it('finds foreign rows of a SET on one connection of a pool', async () => {
      const findings = await run(setOnOneConnection, 5)
      expect(findings.foreign).toBeGreaterThan(0)
      expect(findings.leftOver).toBeGreaterThan(0)
    })

    it('finds foreign rows of a tenant in a module variable, also on a pool of 1', async () => {
      expect((await run(lastUsedContext, 5)).foreign).toBeGreaterThan(0)
      expect((await run(lastUsedContext, 1)).foreign).toBeGreaterThan(0)
    })

    it('finds left-over settings of our own scope when it is not local', async () => {
      const findings = await run(scopeThatStays, 1)
      expect(findings.leftOver).toBeGreaterThan(0)
    })
  },
)
