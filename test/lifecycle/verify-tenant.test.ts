import { afterAll, beforeAll, expect, it } from 'vitest'
import type { FastifyInstance } from 'fastify'
import type { TestDatabase } from '../servers/database.ts'
import { describeWith } from '../servers/suite.ts'
import { tenantApp } from '../support/app.ts'
import { asSuperuser, baselineDatabase } from '../support/database.ts'

describeWith(['postgres15'], '[W52] app.tenancy.verify', ({ postgres15 }) => {
  let database: TestDatabase
  let app: FastifyInstance
  beforeAll(async () => {
    database = await baselineDatabase(postgres15.url)
    app = await tenantApp(database)
  })
  afterAll(async () => {
    await app?.close()
    await database?.drop()
  })

  it('tells of an active, a suspended and a deleted tenant whether it is kept apart', async () => {
    const tenant = await app.tenancy.register({ identifier: 'apart' })
    expect(await app.tenancy.verify('apart')).toMatchObject({ ok: true, warnings: [] })
    await app.tenancy.suspend(tenant)
    expect(await app.tenancy.verify(tenant)).toMatchObject({ ok: true })
    await app.tenancy.delete(tenant)
    await asSuperuser(database, (client) => client.query(`drop schema ${tenant.placement.namespace} cascade`))
    const { ok, checks } = await app.tenancy.verify(tenant)
    expect(ok).toBe(false)
    expect(checks[0]).toEqual({
      name: 'namespace',
      ok: false,
      detail: `the schema ${tenant.placement.namespace} does not exist`,
    })
  })

  it('is no verdict about who is not there, or has nothing any more', async () => {
    await expect(app.tenancy.verify('nobody')).rejects.toMatchObject({ code: 'TENANCY_ERR_TENANT_NOT_FOUND' })
    const tenant = await app.tenancy.register({ identifier: 'purged' })
    await app.tenancy.delete(tenant)
    await app.tenancy.purge(tenant)
    await expect(app.tenancy.verify(tenant)).rejects.toMatchObject({
      code: 'TENANCY_ERR_VERIFY_FAILED',
      message: expect.stringContaining('purged') as string,
    })
  })

  it('is no verdict about one that is purged meanwhile, and leaves nothing of it', async () => {
    const identifiers = Array.from({ length: 8 }, (_, index) => `racing-${index}`)
    const outcomes = await Promise.all(
      identifiers.map(async (identifier) => {
        const tenant = await app.tenancy.register({ identifier })
        await app.tenancy.delete(tenant)
        const verified = app.tenancy.verify(tenant).then(
          ({ ok }) => String(ok),
          (error: { code: string }) => error.code,
        )
        await app.tenancy.purge(tenant)
        const outcome = await verified
        const { rows } = await asSuperuser(database, (client) =>
          client.query('select from pg_namespace where nspname = $1', [tenant.placement.namespace]),
        )
        expect(rows).toEqual([])
        return outcome
      }),
    )
    for (const outcome of outcomes) expect(['true', 'TENANCY_ERR_VERIFY_FAILED']).toContain(outcome)
  })

  it('is no verdict when the database answers something else', async () => {
    const tenant = await app.tenancy.register({ identifier: 'unfinished' })
    // A function that the verification needs is not to be had.
    const takeAway = (verb: string) =>
      asSuperuser(database, (client) =>
        client.query(
          `${verb} execute on function pg_catalog.obj_description(oid, name) ${verb === 'grant' ? 'to' : 'from'} public`,
        ),
      )
    await takeAway('revoke')
    try {
      await expect(app.tenancy.verify(tenant)).rejects.toMatchObject({
        code: 'TENANCY_ERR_VERIFY_FAILED',
        cause: { code: '42501' },
      })
    } finally {
      await takeAway('grant')
    }
  })
})
