import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect, it, onTestFinished } from 'vitest'
import { describeWith } from '../servers/suite.ts'
import { tenantApp } from '../support/app.ts'
import { asSuperuser, baselineDatabase } from '../support/database.ts'

const TENANTS = 200_000

/** More than a few pages hold, and a tenth of what all tenants would. */
const MEGABYTES = 30

describeWith(['postgres18'], 'iterate()', ({ postgres18 }) => {
  it(`goes through ${TENANTS} tenants in the memory of a page`, async () => {
    const database = await baselineDatabase(postgres18.url)
    onTestFinished(() => database.drop())
    const app = await tenantApp(database, { changeChannel: 'poll' })
    onTestFinished(() => app.close())
    await app.ready()
    await asSuperuser(database, async (client) => {
      // Without triggers: this is no change that anybody waits for.
      await client.query('set session_replication_role = replica')
      await client.query(
        `insert into tenancy.tenants (id, identifier, name, name_folded, status, strategy, server, namespace,
           row_key, row_key_canonical, metadata, version)
         select id, 't-' || n, 'Tenant ' || n, 'tenant ' || n, 'active', 'schema', 'main', 't' || lpad(n::text, 25, '0'),
           id::text, id::text, '{}', 1
         from (select n, gen_random_uuid() as id from generate_series(1, $1::int) n) made`,
        [TENANTS],
      )
      await client.query('analyze tenancy.tenants')
    })
    setFlagsFromString('--expose-gc')
    const collect = runInNewContext('gc') as () => void
    const held = () => {
      collect()
      return process.memoryUsage().heapUsed / 2 ** 20
    }
    const before = held()
    let seen = 0
    let most = 0
    const identifiers = new Set<number>()
    for await (const { identifier } of app.tenancy.iterate()) {
      identifiers.add(Number(identifier.slice(2)))
      if (++seen % 20_000 === 0) most = Math.max(most, held())
    }
    expect([seen, identifiers.size]).toEqual([TENANTS, TENANTS])
    expect(most - before).toBeLessThan(MEGABYTES)
  }, 60_000)
})
