import { beforeAll, describe, expect, it } from 'vitest'
import type { ListOptions, TenantStore } from '../../src/contracts/store.ts'
import { iterateTenants } from '../../src/tenants/iterate-tenants.ts'
import { createMemoryTenantStore } from '../../src/tenants/memory-store.ts'
import { newTenant } from '../conformance/store.ts'

const TENANTS = 3001

describe('iterateTenants', () => {
  let store: TenantStore
  let asked: ListOptions[]
  let counted: Pick<TenantStore, 'list'>
  beforeAll(async () => {
    store = createMemoryTenantStore()
    for (let n = 0; n < TENANTS; n++) await store.insert(newTenant({ status: n % 10 === 0 ? 'suspended' : 'active' }))
    counted = {
      list(options = {}) {
        asked.push(options)
        return store.list(options)
      },
    }
  })

  it('gives every tenant once, newest first, and asks for a page when it is needed', async () => {
    asked = []
    const seen: string[] = []
    for await (const { id, createdAt } of iterateTenants(counted)) {
      seen.push(`${createdAt} ${id}`)
      expect(asked.length).toBe(Math.ceil(seen.length / 500))
    }
    expect(seen).toHaveLength(TENANTS)
    expect(seen).toEqual([...new Set(seen)].sort().toReversed())
  })

  it('gives those that match', async () => {
    asked = []
    const seen: string[] = []
    for await (const { status } of iterateTenants(counted, { status: 'suspended', search: 't-' })) seen.push(status)
    expect(seen).toEqual(Array(Math.ceil(TENANTS / 10)).fill('suspended'))
  })

  it('skips none when what it gives is moved out of the filter meanwhile', async () => {
    const moving = createMemoryTenantStore()
    for (let n = 0; n < 1201; n++) await moving.insert(newTenant({ status: 'active' }))
    for await (const { id } of iterateTenants(moving, { status: 'active' })) await moving.setStatus(id, 'suspended')
    expect([await moving.count('active'), await moving.count('suspended')]).toEqual([0, 1201])
  })

  it('ends with a break and with an error, and asks for nothing more', async () => {
    asked = []
    for await (const _ of iterateTenants(counted)) break
    const broken = async () => {
      for await (const _ of iterateTenants(counted)) throw new RangeError('mine')
    }
    await expect(broken()).rejects.toThrow('mine')
    expect(asked).toHaveLength(2)
    const left = iterateTenants(counted)
    await left.next()
    await left.return()
    expect(await left.next()).toEqual({ done: true, value: undefined })
    expect(asked).toHaveLength(3)
  })

  it('tells a page that could not be read, in the middle too', async () => {
    let pages = 0
    const failing: Pick<TenantStore, 'list'> = {
      list: async (options) => (++pages === 2 ? Promise.reject(new RangeError('gone')) : store.list(options)),
    }
    let seen = 0
    const all = async () => {
      for await (const _ of iterateTenants(failing)) seen++
    }
    await expect(all()).rejects.toThrow('gone')
    expect(seen).toBe(500)
  })
})
