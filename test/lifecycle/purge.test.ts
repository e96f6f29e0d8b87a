import { afterAll, beforeAll, expect, it } from 'vitest'
import { add, namesIn, shop } from '../faults/fixture.ts'
import type { TestDatabase } from '../servers/database.ts'
import { describeWith } from '../servers/suite.ts'
import { as } from '../support/app.ts'
import { asSuperuser, baselineDatabase } from '../support/database.ts'

describeWith(['postgres15'], 'purging a tenant', ({ postgres15 }) => {
  let database: TestDatabase
  beforeAll(async () => {
    database = await baselineDatabase(postgres15.url)
  })
  afterAll(() => database?.drop())

  const schemaExists = (namespace: string) =>
    asSuperuser(database, async (client) => {
      const { rowCount } = await client.query('select from pg_namespace where nspname = $1', [namespace])
      return rowCount === 1
    })

  it('[W4] removes its data, keeps its row, and touches nobody else', async () => {
    const app = await shop(database)
    const gone = await app.tenancy.ensure({ identifier: 'gone' })
    const stays = await app.tenancy.ensure({ identifier: 'stays' })
    for (const { identifier } of [gone, stays]) await app.tenancy.run(identifier, () => add(`of ${identifier}`))

    await expect(app.tenancy.purge('gone')).rejects.toMatchObject({ code: 'TENANCY_ERR_STATUS_TRANSITION' })
    expect(await namesIn(app, 'gone')).toEqual(['of gone'])
    await app.tenancy.delete('gone')
    expect(await schemaExists(gone.placement.namespace)).toBe(true)
    const report = await app.tenancy.purge('gone')
    expect(report.objects).toBeGreaterThan(1)
    expect(await schemaExists(gone.placement.namespace)).toBe(false)
    expect(await app.tenancy.get(gone)).toMatchObject({ status: 'purged', placement: gone.placement })
    expect((await app.inject({ url: '/names', headers: as('gone') })).statusCode).toBe(400)
    await expect(app.tenancy.purge('gone')).rejects.toMatchObject({ code: 'TENANCY_ERR_STATUS_TRANSITION' })
    await expect(app.tenancy.purge({ id: '00000000-0000-4000-8000-000000000000' })).rejects.toMatchObject({
      code: 'TENANCY_ERR_TENANT_NOT_FOUND',
    })
    expect(await namesIn(app, 'stays')).toEqual(['of stays'])
    await app.close()
  })

  it('goes on where it was cut off', async () => {
    const app = await shop(database)
    const tenant = await app.tenancy.ensure({ identifier: 'cut-off' })
    await app.tenancy.delete(tenant)
    await asSuperuser(database, async (client) => {
      await client.query('create schema if not exists reports')
      await client.query(`create view reports.leaning as select * from "${tenant.placement.namespace}".items`)
    })
    await expect(app.tenancy.purge(tenant)).rejects.toMatchObject({ code: 'TENANCY_ERR_DESTROY_INCOMPLETE' })
    expect(await app.tenancy.get(tenant)).toMatchObject({ status: 'purging' })
    await asSuperuser(database, (client) => client.query('drop view reports.leaning'))
    expect((await app.tenancy.purge(tenant)).objects).toBeGreaterThan(1)
    expect(await app.tenancy.get(tenant)).toMatchObject({ status: 'purged' })
    await app.close()
  })
})
