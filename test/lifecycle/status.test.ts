import type { FastifyInstance } from 'fastify'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { getTenant, type Tenant } from '../../src/index.ts'
import { add, allIdle, call, db, gate, namesIn, openTransactions, shop, until } from '../faults/fixture.ts'
import type { TestDatabase } from '../servers/database.ts'
import { describeWith } from '../servers/suite.ts'
import { as, type PlainDb } from '../support/app.ts'
import { baselineDatabase } from '../support/database.ts'

const TRANSACTION = { config: { tenancy: { transaction: true } } } as const

/** Code of the error of this library in what Drizzle throws. */
const codeOf = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => 'no error',
    (error: { code?: string; cause?: { code?: string } }) => error.cause?.code ?? error.code,
  )

describeWith(['postgres18'], 'the verbs on a tenant', ({ postgres18 }) => {
  let database: TestDatabase
  beforeAll(async () => {
    database = await baselineDatabase(postgres18.url)
  })
  afterAll(() => database?.drop())

  const tenantOf = async (app: FastifyInstance, identifier: string): Promise<Tenant> => {
    const tenant = await app.tenancy.get(identifier)
    if (tenant === undefined) throw new Error(`no ${identifier}`)
    return tenant
  }

  it('[W5] renaming keeps placement and data, and the old name is unknown at once', async () => {
    const app = await shop(database, {}, (made) => {
      made.get('/who', async () => getTenant().identifier)
    })
    await app.tenancy.ensure({ identifier: 'before-it' })
    await app.tenancy.run('before-it', () => add('kept'))
    const old = await tenantOf(app, 'before-it')
    expect((await app.inject({ url: '/names', headers: as('before-it') })).json()).toEqual([{ name: 'kept' }])
    const unknown = (await app.inject({ url: '/who', headers: as('nobody-at-all') })).body
    expect((await app.inject({ url: '/who', headers: as('after-it') })).body).toBe(unknown)

    let held: PlainDb | undefined
    await app.tenancy.run('before-it', () => void (held = db()))
    const renamed = await app.tenancy.update('before-it', { identifier: 'after-it' }, old.version)
    expect(renamed).toMatchObject({ id: old.id, identifier: 'after-it', placement: old.placement })
    expect((await app.inject({ url: '/who', headers: as('before-it') })).body).toBe(unknown)
    expect((await app.inject({ url: '/who', headers: as('after-it') })).body).toBe('after-it')
    expect((await app.inject({ url: '/names', headers: as('after-it') })).json()).toEqual([{ name: 'kept' }])
    await add('by a held database', held)
    expect(await namesIn(app, 'after-it')).toEqual(['kept', 'by a held database'])

    // Nobody else gets the old name: a process that has not heard of the rename would serve them the old tenant's rows.
    await expect(app.tenancy.register({ identifier: 'before-it' })).rejects.toMatchObject({
      code: 'TENANCY_ERR_TENANT_EXISTS',
    })
    await expect(app.tenancy.update('after-it', { name: 'x' }, old.version)).rejects.toMatchObject({
      code: 'TENANCY_ERR_TENANT_CONFLICT',
    })
  })

  it.each([
    ['suspend', 403, 'TENANCY_ERR_TENANT_SUSPENDED'],
    ['delete', 400, 'TENANCY_ERR_TENANT_UNKNOWN'],
  ] as const)('%s takes effect at once, whatever is held or running', async (verb, status, code) => {
    const go = gate()
    const app = await shop(database, {}, (made) => {
      const paused = async (name: string, on: Pick<PlainDb, 'execute'>) => {
        await add(name, on)
        await go.passed
      }
      made.post('/running', () =>
        db().transaction(async (inner) => {
          await paused('one', inner)
          await add('two', inner)
        }),
      )
      made.post('/committing', () => db().transaction((inner) => paused('six', inner)))
      made.post('/request', TRANSACTION, async () => {
        await paused('seven', db())
        return 'done'
      })
      made.post('/sleeping', async () => {
        await go.passed
        await add('three')
      })
    })
    const identifier = `victim-${verb}`
    const tenant = await app.tenancy.ensure({ identifier })
    let held: PlainDb | undefined
    let prepared: Promise<unknown> | undefined
    await app.tenancy.run(identifier, () => {
      held = db()
    })
    const answers = ['/running', '/committing', '/request', '/sleeping'].map((url) =>
      app.inject({ url, method: 'POST', headers: as(identifier) }),
    )
    await until(async () => (await openTransactions(database)) === 3)

    await app.tenancy[verb](identifier)
    expect(await codeOf(add('four', held))).toBe('TENANCY_ERR_TENANT_REVOKED')
    expect(await codeOf((held as PlainDb).transaction((inner) => add('five', inner)))).toBe(
      'TENANCY_ERR_TENANT_REVOKED',
    )
    const refused = await app.inject({ url: '/names', headers: as(identifier) })
    expect([refused.statusCode, refused.json()]).toMatchObject([status, { code }])
    for (const ref of [identifier, tenant]) {
      expect(await codeOf(app.tenancy.run(ref, () => (prepared = Promise.resolve('ran'))))).toBe(code)
    }
    expect(prepared).toBeUndefined()

    go.open()
    for (const answer of await Promise.all(answers)) {
      expect(answer.statusCode).toBe(403)
      expect(answer.json()).toMatchObject({ code: 'TENANCY_ERR_TENANT_REVOKED' })
    }
    await allIdle(app)
    expect(await openTransactions(database)).toBe(0)

    if (verb === 'delete') {
      for (const next of ['activate', 'suspend', 'delete'] as const) {
        await expect(app.tenancy[next](tenant)).rejects.toMatchObject({ code: 'TENANCY_ERR_STATUS_TRANSITION' })
      }
      return
    }
    await app.tenancy.activate(identifier)
    expect((await app.inject({ url: '/names', headers: as(identifier) })).json()).toEqual([])
    await add('again', held)
    expect(await namesIn(app, identifier)).toEqual(['again'])
  })

  it('[W40] a statement that waits for a connection while its tenant is suspended is not sent', async () => {
    const hold = gate()
    const app = await shop(database, { databasePoolSize: 1 })
    await app.tenancy.ensure({ identifier: 'in-the-queue' })
    const holder = app.tenancy.run('acme', () =>
      db().transaction(async (inner) => {
        await add('x', inner)
        await hold.passed
      }),
    )
    const waiting = [1, 2].map((n) =>
      app.tenancy.run('in-the-queue', () => (n === 1 ? add('late') : db().transaction((inner) => add('late', inner)))),
    )
    const codes = Promise.all(waiting.map((work) => codeOf(work)))
    await new Promise((resolve) => setTimeout(resolve, 100))
    expect(app.tenancy.getMetrics().pools['serving']).toMatchObject({ waiting: 2 })
    await app.tenancy.suspend('in-the-queue')
    hold.open()
    await holder
    expect(await codes).toEqual(['TENANCY_ERR_TENANT_REVOKED', 'TENANCY_ERR_TENANT_REVOKED'])
    expect((await call(app, '/names')).statusCode).toBe(200)
    await allIdle(app)
    await app.tenancy.activate('in-the-queue')
    expect(await namesIn(app, 'in-the-queue')).toEqual([])
  })
})
