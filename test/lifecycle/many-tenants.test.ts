import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import { getTenant } from '../../src/index.ts'
import { shop } from '../faults/fixture.ts'
import type { TestDatabase } from '../servers/database.ts'
import { describeWith } from '../servers/suite.ts'
import { as } from '../support/app.ts'
import { baselineDatabase } from '../support/database.ts'

describeWith(['postgres18'], 'the verbs on many tenants', ({ postgres18 }) => {
  let database: TestDatabase
  beforeAll(async () => {
    database = await baselineDatabase(postgres18.url)
  })
  afterAll(() => database?.drop())

  it('find, go through, suspend and activate each, tell what became of each, and serve none that is suspended', async () => {
    const app = await shop(database, {}, (made) => {
      made.get('/who', async () => getTenant().identifier)
    })
    for (const name of ['One', 'Two', 'Three']) {
      await app.tenancy.register({ identifier: `shop-${name.toLowerCase()}`, name: `Shop ${name}` })
    }

    const identifiers = async () => {
      const found: string[] = []
      for await (const { identifier } of app.tenancy.iterate({ search: 'SHOP' })) found.push(identifier)
      return found
    }

    const { tenants } = await app.tenancy.list({ search: 'shop t' })
    expect(tenants.map(({ identifier }) => identifier)).toEqual(['shop-three', 'shop-two'])
    expect(await app.tenancy.getByIds(tenants.map(({ id }) => id).toReversed())).toEqual(tenants.toReversed())
    expect(await identifiers()).toEqual(['shop-three', 'shop-two', 'shop-one'])

    const ask = async (identifier: string) => (await app.inject({ url: '/who', headers: as(identifier) })).statusCode
    const [three, two] = (await app.tenancy.list({ search: 'shop t' })).tenants
    expect([await ask('shop-one'), await ask('shop-two'), await ask('shop-three')]).toEqual([200, 200, 200])
    const refs = ['shop-one', three as object as { id: string }, 'nobody-here', 'shop-one']
    const suspended = await app.tenancy.suspendMany(refs)
    expect(suspended.map(({ ref }) => ref)).toEqual(refs)
    expect(suspended[1]?.tenant).toMatchObject({ id: three?.id, status: 'suspended' })
    expect(suspended[2]?.error).toMatchObject({ code: 'TENANCY_ERR_TENANT_NOT_FOUND' })
    const [first, again] = [suspended[0], suspended[3]]
    expect([first, again].filter((result) => result?.tenant?.status === 'suspended')).toHaveLength(1)
    expect([await ask('shop-one'), await ask('shop-two'), await ask('shop-three')]).toEqual([403, 200, 403])
    const activated = await app.tenancy.activateMany(['shop-one', 'shop-two', 'shop-three'])
    expect(activated.map(({ tenant }) => tenant?.status)).toEqual(['active', undefined, 'active'])
    expect(await app.tenancy.get('shop-two')).toEqual(two)
    expect([await ask('shop-one'), await ask('shop-two'), await ask('shop-three')]).toEqual([200, 200, 200])
  })

  it('keep the keys of 60 writers at once, and refuse the second of two that saw the same version', async () => {
    const app = await shop(database)
    const { version } = await app.tenancy.register({ identifier: 'busy-one' })
    const writers = Array.from({ length: 60 }, (_, n) =>
      app.tenancy.update('busy-one', { metadata: { [`key${n}`]: n } }),
    )
    await Promise.all([...writers, app.tenancy.suspend('busy-one')])
    const busy = await app.tenancy.get('busy-one')
    expect(busy).toMatchObject({ version: version + 61, status: 'suspended' })
    expect(Object.keys(busy?.metadata ?? {})).toHaveLength(60)
    const stale = { name: 'Stale' }
    await expect(app.tenancy.update('busy-one', stale, version)).rejects.toMatchObject({
      code: 'TENANCY_ERR_TENANT_CONFLICT',
      statusCode: 409,
    })
    expect(await app.tenancy.update('busy-one', stale)).toMatchObject({ name: 'Stale', status: 'suspended' })
  })

  it('register no more than maxTenants, from two apps at once, and ensure those that are there', async () => {
    const own = await baselineDatabase(postgres18.url)
    onTestFinished(() => own.drop())
    const apps = [await shop(own, { maxTenants: 4 }), await shop(own, { maxTenants: 4 })] as const
    // Beside `acme`, which each of them ensures.
    await apps[0].tenancy.register({ identifier: 'first-one' })
    const results = await Promise.allSettled(
      Array.from({ length: 8 }, (_, n) => apps[n % 2 === 0 ? 0 : 1].tenancy.register({ identifier: `more-${n}` })),
    )
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(2)
    for (const result of results) {
      if (result.status === 'rejected') {
        expect(result.reason).toMatchObject({ code: 'TENANCY_ERR_TENANT_LIMIT', statusCode: 409 })
      }
    }
    expect(await apps[1].tenancy.ensure({ identifier: 'first-one' })).toMatchObject({ status: 'active' })
    await apps[0].tenancy.delete('first-one')
    await expect(apps[1].tenancy.register({ identifier: 'last-one' })).rejects.toMatchObject({
      code: 'TENANCY_ERR_TENANT_LIMIT',
    })
    await apps[0].tenancy.purge('first-one')
    expect(await apps[1].tenancy.register({ identifier: 'last-one' })).toMatchObject({ status: 'active' })
    const unlimited = await shop(own)
    expect(await unlimited.tenancy.register({ identifier: 'beyond-it' })).toMatchObject({ status: 'active' })
  })
})
