import { afterAll, beforeAll, expect, it } from 'vitest'
import { type TestDatabase, withPort } from '../servers/database.ts'
import { describeWith } from '../servers/suite.ts'
import { baselineDatabase } from '../support/database.ts'
import { attack, operationNames } from './attack.ts'
import { resetTenants } from './inspection.ts'
import { type Attacked, provisionTenants, scopedTarget } from './target.ts'

const TENANTS = 50
/** For each of eight cells; fewer where the configuration of the tests says so. */
const OPERATIONS = Number(process.env['ATTACK_OPERATIONS'] ?? 20_000)

for (const version of ['15', '18'] as const) {
  describeWith([`postgres${version}`, `pgbouncer${version}`], `attack on PostgreSQL ${version}`, (servers) => {
    const direct = servers[`postgres${version}`]
    const pooler = servers[`pgbouncer${version}`]
    let database: TestDatabase
    let tenants: Attacked[]

    beforeAll(async () => {
      database = await baselineDatabase(direct.url)
      tenants = await provisionTenants(database, TENANTS)
    })
    afterAll(() => database?.drop())

    const cells = [1, 5].flatMap((poolSize) => [
      { poolSize, through: 'direct' as const },
      { poolSize, through: 'PgBouncer' as const },
    ])
    it.each(cells)(
      '[W64] lets nothing cross: pool of $poolSize, $through',
      async ({ poolSize, through }) => {
        await resetTenants(database, tenants)
        const url = through === 'direct' ? database.appUrl : withPort(database.appUrl, pooler.port)
        const target = await scopedTarget(database, url, poolSize)
        const findings = await attack({
          database,
          target,
          tenants,
          operations: OPERATIONS,
          workers: poolSize === 1 ? 12 : 24,
          seed: 20_260_101 + poolSize,
          chaosEveryMs: 40,
        })
        await target.close()
        expect(findings).toMatchObject({ foreign: 0, leftOver: 0, wrong: 0, samples: [] })
        expect(operationNames.filter((name) => findings.done[name] === undefined)).toEqual([])
        for (const count of ['killed', 'cancelled', 'disturbed'] as const) {
          expect(findings[count], count).toBeGreaterThan(0)
        }
      },
      // On a busy machine it took 105 s.
      600_000,
    )
  })
}
