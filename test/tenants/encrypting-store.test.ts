import { beforeEach, describe, expect, it } from 'vitest'
import type { TenantStore } from '../../src/contracts/store.ts'
import type { Tenant } from '../../src/contracts/tenant.ts'
import { createCipher } from '../../src/encryption/cipher.ts'
import { createEncryptingTenantStore } from '../../src/tenants/encrypting-store.ts'
import { createSecretFields } from '../../src/tenants/secret-fields.ts'
import { createMemoryTenantStore } from '../../src/tenants/memory-store.ts'
import { isTenantSecret } from '../../src/tenants/tenant-secret.ts'
import { newKey, opened } from '../conformance/secrets.ts'
import { newTenant, positionAfter } from '../conformance/store.ts'

const SECRET = 'p@ss-of-acme'
const metadata = { _enc_token: SECRET, deep: [{ _enc_token: SECRET }] }

/** What an operation gives, and how many tenants are in it. */
type Call = readonly [tenants: number, call: (store: TenantStore, tenant: Tenant) => unknown]

/** Every operation of the contract: a new one does not compile until it is here. */
const calls: Record<keyof TenantStore, Call> = {
  initialize: [0, (store) => store.initialize()],
  getById: [1, (store, { id }) => store.getById(id)],
  getByIdentifier: [1, (store, { identifier }) => store.getByIdentifier(identifier)],
  getByIds: [1, (store, { id }) => store.getByIds([id])],
  insert: [1, (store) => store.insert(newTenant({ metadata }))],
  update: [1, (store, { id }) => store.update(id, { metadata })],
  setStatus: [1, (store, { id }) => store.setStatus(id, 'active')],
  discard: [0, (store, { id }) => store.discard(id)],
  list: [1, async (store) => (await store.list()).tenants],
  count: [0, (store) => store.count()],
  changes: [1, async (store) => (await store.changes?.(await positionAfter(0, store)))?.tenants],
  hotTenants: [0, (store) => store.hotTenants?.() ?? expect.fail()],
  noteHotTenants: [0, (store, { id }) => store.noteHotTenants?.([id]) ?? expect.fail()],
  ping: [0, (store) => store.ping()],
  close: [0, (store) => store.close()],
}

describe('[W34] createEncryptingTenantStore', () => {
  let handed: string[]
  let inner: TenantStore
  let store: TenantStore
  let tenant: Tenant

  beforeEach(async () => {
    handed = []
    inner = createMemoryTenantStore()
    // The store itself, which tells what it was handed.
    const watched = Object.fromEntries(
      Object.entries(inner).map(([name, operation]: [string, (...all: unknown[]) => unknown]) => [
        name,
        (...parameters: unknown[]): unknown => {
          handed.push(JSON.stringify(parameters))
          return operation(...parameters)
        },
      ]),
    ) as unknown as TenantStore
    const cipher = createCipher({ current: newKey('k1'), allowPlaintext: false })
    store = createEncryptingTenantStore({ store: watched, secrets: createSecretFields(cipher, '_enc_') })
    tenant = await store.insert(newTenant({ metadata }))
  })

  it('has every operation of the store', () => {
    expect(Object.keys(store).sort()).toEqual(Object.keys(inner).sort())
    expect(Object.keys(calls).sort()).toEqual(Object.keys(inner).sort())
  })

  it.each(Object.entries(calls))('%s hands in no secret and gives none out', async (_name, [count, call]) => {
    const given = await call(store, tenant)
    expect(handed.join()).not.toContain(SECRET)
    expect(JSON.stringify(given) ?? '').not.toMatch(/p@ss|enc:1/)
    const tenants = (Array.isArray(given) ? given : [given]).filter((one): one is Tenant => Object(one) === one)
    expect(tenants).toHaveLength(count)
    for (const one of tenants) {
      const { _enc_token: token, deep } = one.metadata as { _enc_token: unknown; deep: [{ _enc_token: unknown }] }
      for (const value of [token, deep[0]._enc_token]) {
        if (!isTenantSecret(value)) throw new TypeError('no secret')
        expect(await value.reveal()).toBe(SECRET)
      }
    }
  })

  it('has no more operations than the store', () => {
    const { changes: _, ...less } = inner
    const cipher = createCipher({ current: newKey('k1'), allowPlaintext: false })
    expect(
      createEncryptingTenantStore({ store: less, secrets: createSecretFields(cipher, '_enc_') }),
    ).not.toHaveProperty('changes')
  })

  it('hides once: what is hidden stays as it is', async () => {
    const fields = createSecretFields(createCipher({ current: newKey('k1'), allowPlaintext: true }), '_enc_')
    const once = fields.hide({ ...tenant, metadata: await fields.seal(metadata, tenant.id) })
    expect(fields.hide(once)).toBe(once)
    const more = fields.hide({ ...once, metadata: { ...once.metadata, _enc_more: 'clear' } })
    expect(await opened(more.metadata)).toEqual({ ...metadata, _enc_more: 'clear' })
  })

  it('gives a tenant without secrets as the store gave it', async () => {
    const { id } = await inner.insert(newTenant({ metadata: { plan: 'pro' } }))
    expect(await store.getById(id)).toBe(await inner.getById(id))
  })

  it('finds a secret below 10,000 levels, where the stack would end', async () => {
    let deep: Record<string, unknown> = { _enc_token: 'enc:1:k1:AAAA' }
    for (let level = 0; level < 10_000; level++) deep = { deep }
    const odd = { ...inner, getById: async () => ({ ...tenant, metadata: deep }) }
    const cipher = createCipher({ current: newKey('k1'), allowPlaintext: false })
    const found = await createEncryptingTenantStore({
      store: odd,
      secrets: createSecretFields(cipher, '_enc_'),
    }).getById(tenant.id)
    let value: unknown = found?.metadata
    for (let level = 0; level < 10_000; level++) value = (value as { deep: unknown }).deep
    expect(isTenantSecret((value as { _enc_token: unknown })._enc_token)).toBe(true)
  })
})
