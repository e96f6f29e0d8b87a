import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import type { DatabaseServer } from '../../src/contracts/dialect.ts'
import type { TenantStore } from '../../src/contracts/store.ts'
import { tenancyError } from '../../src/errors.ts'
import { rlsStrategy } from '../../src/isolation/rls.ts'
import { createRegistration } from '../../src/lifecycle/registration.ts'
import { createMemoryTenantStore } from '../../src/tenants/memory-store.ts'
import { gate } from '../faults/fixture.ts'
import type { TestDatabase } from '../servers/database.ts'
import { describeWith } from '../servers/suite.ts'
import { asSuperuser, baselineDatabase, sharedSchemas, testServer } from '../support/database.ts'

const wish = { identifier: 'acme', rowKey: '42' }
const unavailable = tenancyError('TENANCY_ERR_DATABASE_UNAVAILABLE')
const codeOf = (work: Promise<unknown>) =>
  work.then(
    () => 'none',
    (error: { code: string }) => error.code,
  )

describeWith(['postgres15'], 'the row key of a registration that failed', ({ postgres15 }) => {
  let database: TestDatabase
  let count = 0
  beforeAll(async () => {
    database = await baselineDatabase(postgres15.url)
  })
  afterAll(() => database?.drop())

  /** Processes over one registry and one shared schema. */
  async function world() {
    const rlsSchema = `rls_${++count}`
    const server = testServer(database, { strategies: ['rls'], shared: { ...sharedSchemas, rlsSchema } })
    await server.open()
    onTestFinished(() => server.close())
    const registry = createMemoryTenantStore()
    return {
      server,
      registry,
      process: (change: { server?: Partial<DatabaseServer>; store?: Partial<TenantStore> } = {}, store = registry) =>
        createRegistration({
          store: { ...store, ...change.store },
          strategy: rlsStrategy(),
          server: { ...server, ...change.server },
          migrations: [],
          reserved: new Set(),
          metadata: { check: () => {} },
          initialStatus: 'active',
        }),
      claims: () =>
        asSuperuser(database, async (client) => {
          const { rows } = await client.query<{ tenant: string }>(`select tenant from ${rlsSchema}.__tenancy_row_keys`)
          return rows.map(({ tenant }) => tenant)
        }),
      free: (rowKey: string) =>
        asSuperuser(database, (client) =>
          client.query(`delete from ${rlsSchema}.__tenancy_row_keys where row_key = $1`, [rowKey]),
        ),
      async found() {
        while ((await registry.getByIdentifier('acme')) === undefined) await new Promise(setImmediate)
      },
    }
  }

  /** Fails once the gate is open. */
  const failing = (passed: Promise<void>): Partial<DatabaseServer> => ({
    async inNamespace() {
      await passed
      throw unavailable
    },
  })

  it('is free when another process claims it for the same tenant before it fails', async () => {
    const { process, registry, claims, found } = await world()
    const [claimed, failed] = [gate(), gate()]
    const first = codeOf(process({ server: failing(claimed.passed) }).register(wish))
    await found()
    const other = process({
      store: {
        async setStatus(...move) {
          claimed.open()
          await failed.passed
          return registry.setStatus(...move)
        },
      },
    })
    const second = codeOf(other.ensure(wish))
    expect(await first).toBe('TENANCY_ERR_DATABASE_UNAVAILABLE')
    expect(await claims()).toEqual([])
    failed.open()
    expect(await second).toBe('TENANCY_ERR_TENANT_NOT_FOUND')
    const { id } = await process().register(wish)
    expect(await claims()).toEqual([id])
  })

  it('is free when another process claims it for the same tenant after it failed', async () => {
    const { process, server, claims, found } = await world()
    const [asked, failed] = [gate(), gate()]
    const first = codeOf(process({ server: failing(asked.passed) }).register(wish))
    await found()
    const other = process({
      server: {
        async inNamespace(...work) {
          asked.open()
          await failed.passed
          return server.inNamespace(...work)
        },
      },
    })
    const second = codeOf(other.ensure(wish))
    expect(await first).toBe('TENANCY_ERR_DATABASE_UNAVAILABLE')
    failed.open()
    expect(await second).toBe('TENANCY_ERR_TENANT_NOT_FOUND')
    expect(await claims()).toEqual([])
    const { id } = await process().register(wish)
    expect(await claims()).toEqual([id])
  })

  it('is free when the transaction that claimed it was committed and nobody knew', async () => {
    const { process, server, claims } = await world()
    const one = process({
      server: {
        async inNamespace(...work) {
          await server.inNamespace(...work)
          throw unavailable
        },
      },
    })
    expect(await codeOf(one.register(wish))).toBe('TENANCY_ERR_DATABASE_UNAVAILABLE')
    expect(await claims()).toEqual([])
    expect(await process().register(wish)).toMatchObject({ status: 'active' })
  })

  it('stays with a tenant that another process has finished, and with one of another registry', async () => {
    const { process, claims, found } = await world()
    const finished = gate()
    const first = codeOf(process({ server: failing(finished.passed) }).register(wish))
    await found()
    const { id } = await process().ensure(wish)
    finished.open()
    expect(await first).toBe('TENANCY_ERR_DATABASE_UNAVAILABLE')
    expect(await claims()).toEqual([id])
    const stranger = process({}, createMemoryTenantStore())
    for (let n = 0; n < 2; n++) expect(await codeOf(stranger.register(wish))).toBe('TENANCY_ERR_TENANT_EXISTS')
    expect(await claims()).toEqual([id])
  })

  it('stays taken when the process dies before it gives it back, for nobody, until the owner of the tables frees it', async () => {
    const { process, server, registry, claims, free } = await world()
    const dying = process({
      server: {
        async inNamespace(...work) {
          await server.inNamespace(...work)
          throw unavailable
        },
        release: () => Promise.reject(unavailable),
      },
    })
    expect(await codeOf(dying.register(wish))).toBe('TENANCY_ERR_DATABASE_UNAVAILABLE')
    expect(await claims()).toHaveLength(1)
    for (const verb of ['register', 'ensure'] as const) {
      expect(await codeOf(process()[verb](wish))).toBe('TENANCY_ERR_TENANT_EXISTS')
      expect(await registry.getByIdentifier('acme')).toBeUndefined()
    }
    expect(await process().register({ identifier: 'acme' })).toMatchObject({ status: 'active' })
    await free('42')
    expect(await process().register({ ...wish, identifier: 'acme-2' })).toMatchObject({ status: 'active' })
  })
})
