import { randomUUID } from 'node:crypto'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { RegistryChanges } from '../../src/contracts/changes.ts'
import type { TenantStore } from '../../src/contracts/store.ts'
import { type NewTenant, type Tenant, type TenantStatus, transitions } from '../../src/contracts/tenant.ts'
import { generateNamespace } from '../../src/util/identifier.ts'

/** One registry and as many stores on it as a test asks for. */
export interface StoreFixture {
  /** Another store on the same registry, as another process would have it. A store in memory gives itself. */
  open(): TenantStore
  /** Throws the registry away. */
  drop(): Promise<void>
}

const statuses = Object.keys(transitions) as TenantStatus[]

/** How a test gets a tenant into a status by legal moves only. */
const pathTo: Record<TenantStatus, readonly TenantStatus[]> = {
  provisioning: [],
  active: ['active'],
  suspended: ['suspended'],
  deleted: ['active', 'deleted'],
  purging: ['active', 'deleted', 'purging'],
  purged: ['active', 'deleted', 'purging', 'purged'],
}

/** The position after the change of this number, in the registry as it is now. */
export async function positionAfter(number: number, store: Pick<TenantStore, 'changes'>): Promise<string> {
  const { position } = (await store.changes?.()) ?? expect.fail('This store does not tell its changes.')
  return position.replace(/\d+$/, String(number))
}

/** A tenant to insert, unlike any other. */
export function newTenant({ rowKey, ...change }: Partial<NewTenant> & { readonly rowKey?: string } = {}): NewTenant {
  const id = change.id ?? randomUUID()
  return {
    id,
    identifier: `t-${id.slice(0, 13)}`,
    name: 'Acme Inc.',
    status: 'provisioning',
    placement: { strategy: 'schema', server: 'main', namespace: generateNamespace(id), rowKey: rowKey ?? id },
    metadata: {},
    ...change,
  }
}

/** The specification of `TenantStore`: every implementation and every wrapper passes it. */
export function describeTenantStore(name: string, createFixture: () => Promise<StoreFixture>): void {
  describe(`tenant store: ${name}`, () => {
    let fixture: StoreFixture
    let store: TenantStore

    const insertIn = async (status: TenantStatus): Promise<Tenant> => {
      let tenant = await store.insert(newTenant())
      for (const step of pathTo[status]) tenant = await store.setStatus(tenant.id, step)
      return tenant
    }

    beforeEach(async () => {
      fixture = await createFixture()
      store = fixture.open()
      await store.initialize()
    })

    afterEach(async () => {
      await store.close()
      await fixture.drop()
    })

    describe('initialize', () => {
      it('can be repeated and keeps what is stored', async () => {
        const tenant = await store.insert(newTenant())
        await store.initialize()
        expect(await store.getById(tenant.id)).toEqual(tenant)
      })

      it('works when eight processes start at once', async () => {
        const fresh = await createFixture()
        try {
          const stores = Array.from({ length: 8 }, () => fresh.open())
          await Promise.all(stores.map((each) => each.initialize()))
          expect(await Promise.all(stores.map((each) => each.count()))).toEqual(Array(8).fill(0))
        } finally {
          await fresh.drop()
        }
      })
    })

    describe('insert and read', () => {
      it('gives back what was stored, by id and by identifier', async () => {
        const input = newTenant({
          metadata: { plan: 'pro', nested: { list: [1, null, { deep: null }] }, 'ключ "q"': "it's" },
        })
        const tenant = await store.insert(input)
        expect(tenant).toEqual({ ...input, version: 1, createdAt: expect.any(String), updatedAt: expect.any(String) })
        expect(new Date(tenant.createdAt).toISOString()).toBe(tenant.createdAt)
        expect(Math.abs(Date.now() - Date.parse(tenant.createdAt))).toBeLessThan(60_000)
        expect(await store.getById(tenant.id)).toEqual(tenant)
        expect(await store.getByIdentifier(tenant.identifier)).toEqual(tenant)
      })

      it('gives undefined for what does not exist, however it is written', async () => {
        await store.insert(newTenant({ identifier: 'acme' }))
        expect(await store.getById(randomUUID())).toBeUndefined()
        for (const id of ['', 'acme', '\0', "' or 1=1 --", 'x'.repeat(100_000)]) {
          expect(await store.getById(id)).toBeUndefined()
        }
        for (const identifier of ['', 'ACME', 'acme ', 'acme\0', 'a%', '%', "' or 1=1 --", 'x'.repeat(100_000)]) {
          expect(await store.getByIdentifier(identifier)).toBeUndefined()
        }
      })

      it('refuses a taken id, identifier, namespace and row key', async () => {
        const first = await store.insert(newTenant({ identifier: 'acme' }))
        const clashes = [
          newTenant({ id: first.id }),
          newTenant({ identifier: 'acme' }),
          newTenant({ placement: { ...first.placement, rowKey: randomUUID() } }),
          newTenant({ rowKey: first.id }),
        ]
        for (const clash of clashes) {
          await expect(store.insert(clash)).rejects.toMatchObject({ code: 'TENANCY_ERR_TENANT_EXISTS' })
        }
        expect(await store.count()).toBe(1)
      })

      it('lets one of many that insert the same identifier at once win', async () => {
        const results = await Promise.allSettled(
          Array.from({ length: 10 }, () => store.insert(newTenant({ identifier: 'acme' }))),
        )
        expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
        for (const result of results) {
          if (result.status === 'rejected') expect(result.reason).toMatchObject({ code: 'TENANCY_ERR_TENANT_EXISTS' })
        }
      })

      it.each<[string, Record<string, unknown>, string]>([
        ['an id that is no UUID', { id: 'acme' }, 'TENANCY_ERR_TENANT_INVALID'],
        ['an id in upper case', { id: randomUUID().toUpperCase() }, 'TENANCY_ERR_TENANT_INVALID'],
        ['an identifier that is no slug', { identifier: 'Acme Inc' }, 'TENANCY_ERR_IDENTIFIER_INVALID'],
        ['an empty name', { name: '' }, 'TENANCY_ERR_TENANT_INVALID'],
        ['a name of 256 characters', { name: 'x'.repeat(256) }, 'TENANCY_ERR_TENANT_INVALID'],
        ['a name with NUL', { name: 'a\0b' }, 'TENANCY_ERR_TENANT_INVALID'],
        ['a name with half a surrogate pair', { name: 'a\ud800' }, 'TENANCY_ERR_TENANT_INVALID'],
        ['an unknown status', { status: 'frozen' }, 'TENANCY_ERR_TENANT_INVALID'],
        ['a status of Object.prototype', { status: 'constructor' }, 'TENANCY_ERR_TENANT_INVALID'],
        ['metadata that is a list', { metadata: [] }, 'TENANCY_ERR_TENANT_INVALID'],
        ['metadata that is null', { metadata: null }, 'TENANCY_ERR_TENANT_INVALID'],
        ['metadata that is a text', { metadata: 'x' }, 'TENANCY_ERR_TENANT_INVALID'],
        ['metadata with a bigint', { metadata: { n: 1n } }, 'TENANCY_ERR_TENANT_INVALID'],
        ['metadata with NUL', { metadata: { text: 'a\0' } }, 'TENANCY_ERR_TENANT_INVALID'],
        ['metadata with half a surrogate pair', { metadata: { text: '\udfff' } }, 'TENANCY_ERR_TENANT_INVALID'],
        [
          'a namespace that needs quotes',
          { placement: { strategy: 'schema', server: 'main', namespace: 'a"b', rowKey: '1' } },
          'TENANCY_ERR_TENANT_INVALID',
        ],
        [
          'an empty server',
          { placement: { strategy: 'schema', server: '', namespace: 'tabc', rowKey: '1' } },
          'TENANCY_ERR_TENANT_INVALID',
        ],
        ...['', ' 42', '42\n', '4\u00002', 'a\u0085b', '\ud800', 'x'.repeat(256), 42, null, undefined].map(
          (rowKey): [string, Record<string, unknown>, string] => [
            `the row key ${JSON.stringify(rowKey)}`,
            { placement: { strategy: 'rls', server: 'main', namespace: 'tabc', rowKey } },
            'TENANCY_ERR_TENANT_INVALID',
          ],
        ),
      ])('refuses %s', async (_what, change, code) => {
        await expect(store.insert({ ...newTenant(), ...change })).rejects.toMatchObject({ code })
        expect(await store.count()).toBe(0)
      })

      it('takes text that only looks like an escape, and a name of 255 characters', async () => {
        const input = newTenant({ name: 'é'.repeat(255), metadata: { text: '\\u0000 \\\\ud800', emoji: '😀' } })
        const tenant = await store.insert(input)
        expect(await store.getById(tenant.id)).toMatchObject({ name: input.name, metadata: input.metadata })
      })

      it('[W13] gives deep-frozen tenants that share nothing with what was handed in', async () => {
        const metadata = { limits: { users: 5 }, tags: ['a'] }
        const tenant = await store.insert(newTenant({ metadata }))
        metadata.limits.users = 500
        const updated = await store.update(tenant.id, { metadata: { more: { deep: [{}] } } })
        const reads = [tenant, updated, await store.getById(tenant.id), await store.getByIdentifier(tenant.identifier)]
        reads.push((await store.list()).tenants[0], await store.setStatus(tenant.id, 'active'))
        for (const read of reads) {
          expect(isDeepFrozen(read)).toBe(true)
          expect(() => {
            Object.assign((read?.metadata ?? {})['limits'] as object, { users: 6 })
          }).toThrow(TypeError)
        }
        expect((await store.getById(tenant.id))?.metadata).toMatchObject({ limits: { users: 5 } })
      })
    })

    describe('getByIds', () => {
      it('[W60] gives each tenant once in the order of the ids, without those that are not there', async () => {
        const tenants: Tenant[] = []
        for (let n = 0; n < 5; n++) tenants.push(await store.insert(newTenant()))
        const shuffled = [3, 0, 4, 1].map((n) => tenants[n] as Tenant)
        const ids = shuffled.flatMap(({ id }) => [id, randomUUID(), id, 'acme', '\0', id.toUpperCase()])
        expect(await store.getByIds([...ids, ...ids])).toEqual(shuffled)
        expect(await store.getByIds([])).toEqual([])
        for (const tenant of await store.getByIds(ids)) expect(isDeepFrozen(tenant)).toBe(true)
      })

      it('[W60] takes more ids than any database takes in one statement', async () => {
        const first = await store.insert(newTenant())
        const last = await store.insert(newTenant())
        const ids = [last.id, ...Array.from({ length: 66_000 }, () => randomUUID()), first.id]
        expect(await store.getByIds(ids)).toEqual([last, first])
      })
    })

    describe('row keys', () => {
      const taken = { code: 'TENANCY_ERR_TENANT_EXISTS' }

      it('gives back what was stored, as it was written', async () => {
        for (const rowKey of ['42', '-7', '007', 'acme', 'Acme', "O'Reilly \\ %_", 'é'.repeat(255), '{"a":1}']) {
          const tenant = await store.insert(newTenant({ rowKey }))
          expect(tenant.placement.rowKey).toBe(rowKey)
          expect((await store.getById(tenant.id))?.placement).toEqual(tenant.placement)
        }
      })

      it('refuses a key that only looks different from a taken one', async () => {
        const same = [
          ['42', '042', '+42', '4_2', '0x2A', '0b101010', '0o52', '42'],
          ['0', '-0', '00'],
          [
            'aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeee01',
            'AAAAAAAA-BBBB-4CCC-8DDD-EEEEEEEEEE01',
            '{aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeee01}',
            'aaaaaaaabbbb4ccc8dddeeeeeeeeee01',
            'aaaa-aaaa-bbbb-4ccc-8ddd-eeee-eeee-ee01',
          ],
        ]
        for (const [first = '', ...others] of same) {
          await store.insert(newTenant({ rowKey: first }))
          for (const rowKey of others) await expect(store.insert(newTenant({ rowKey }))).rejects.toMatchObject(taken)
        }
        expect(await store.count()).toBe(3)
      })

      it('lets one of many that insert the same key at once win, however they write it', async () => {
        const results = await Promise.allSettled(
          Array.from({ length: 12 }, (_, n) => store.insert(newTenant({ rowKey: `${'0'.repeat(n % 3)}42` }))),
        )
        expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
        for (const result of results) if (result.status === 'rejected') expect(result.reason).toMatchObject(taken)
      })

      it('never gives the key of a purged tenant again; that of a discarded one was never used', async () => {
        const purged = await store.insert(newTenant({ rowKey: '42' }))
        for (const step of pathTo.purged) await store.setStatus(purged.id, step)
        await expect(store.insert(newTenant({ rowKey: '42' }))).rejects.toMatchObject(taken)
        const discarded = await store.insert(newTenant({ rowKey: '43' }))
        await store.discard(discarded.id)
        await store.insert(newTenant({ rowKey: '43' }))
      })

      it('changes no key', async () => {
        const { id } = await store.insert(newTenant({ rowKey: '42' }))
        const change = { rowKey: '43', placement: { rowKey: '43' } } as object
        expect((await store.update(id, { ...change, name: 'New' })).placement.rowKey).toBe('42')
      })
    })

    describe('update', () => {
      it('changes what the patch names, and grows the version by one', async () => {
        const tenant = await store.insert(newTenant({ metadata: { a: 1 } }))
        const updated = await store.update(tenant.id, { name: 'New' })
        expect(updated).toEqual({ ...tenant, name: 'New', version: 2, updatedAt: updated.updatedAt })
        expect(updated.updatedAt >= tenant.updatedAt).toBe(true)
        expect(await store.getById(tenant.id)).toEqual(updated)
      })

      it('renames: the new identifier is found, the old one is nobody’s, the placement stays', async () => {
        const tenant = await store.insert(newTenant({ identifier: 'acme' }))
        const renamed = await store.update(tenant.id, { identifier: 'beta' })
        expect(renamed.placement).toEqual(tenant.placement)
        expect(await store.getByIdentifier('acme')).toBeUndefined()
        expect(await store.getByIdentifier('beta')).toEqual(renamed)
      })

      it('gives an identifier that was given up back to who had it, and to nobody else', async () => {
        const tenant = await store.insert(newTenant({ identifier: 'acme' }))
        await store.update(tenant.id, { identifier: 'beta' })
        const other = await store.insert(newTenant({ identifier: 'gamma' }))
        const taken = { code: 'TENANCY_ERR_TENANT_EXISTS' }
        await expect(store.insert(newTenant({ identifier: 'acme' }))).rejects.toMatchObject(taken)
        await expect(store.update(other.id, { identifier: 'acme' })).rejects.toMatchObject(taken)
        expect(await store.getById(other.id)).toEqual(other)
        const back = await store.update(tenant.id, { identifier: 'acme' })
        expect(await store.getByIdentifier('acme')).toEqual(back)
        await expect(store.update(other.id, { identifier: 'beta' })).rejects.toMatchObject(taken)
        await store.update(tenant.id, { identifier: 'beta' })
      })

      it('moves a status only out of the one that is given', async () => {
        const { id } = await store.insert(newTenant({ status: 'provisioning' }))
        const refused = { code: 'TENANCY_ERR_STATUS_TRANSITION' }
        await expect(store.setStatus(id, 'active', 'suspended')).rejects.toMatchObject(refused)
        expect((await store.getById(id))?.status).toBe('provisioning')
        await store.setStatus(id, 'active', 'provisioning')
        await store.setStatus(id, 'suspended', 'active')
        await expect(store.setStatus(id, 'active', 'provisioning')).rejects.toMatchObject(refused)
        expect((await store.setStatus(id, 'active', 'suspended')).status).toBe('active')
      })

      it('[W43] refuses a rename that steals an identifier', async () => {
        const acme = await store.insert(newTenant({ identifier: 'acme' }))
        const beta = await store.insert(newTenant({ identifier: 'beta' }))
        await expect(store.update(beta.id, { identifier: 'acme' })).rejects.toMatchObject({
          code: 'TENANCY_ERR_TENANT_EXISTS',
        })
        expect(await store.getByIdentifier('acme')).toEqual(acme)
        expect(await store.getById(beta.id)).toEqual(beta)
      })

      it('[W43] refuses a stale version, and changes nothing', async () => {
        const tenant = await store.insert(newTenant({ name: 'One' }))
        const two = await store.update(tenant.id, { name: 'Two' }, 1)
        await expect(store.update(tenant.id, { name: 'Three' }, 1)).rejects.toMatchObject({
          code: 'TENANCY_ERR_TENANT_CONFLICT',
        })
        await expect(store.update(tenant.id, {}, 1)).rejects.toMatchObject({ code: 'TENANCY_ERR_TENANT_CONFLICT' })
        expect(await store.getById(tenant.id)).toEqual(two)
      })

      it('[W43] lets one of many that expect the same version win', async () => {
        const { id } = await store.insert(newTenant())
        const writers = Array.from({ length: 10 }, (_, n) => store.update(id, { name: `Writer ${n}` }, 1))
        const won = (await Promise.allSettled(writers)).filter(({ status }) => status === 'fulfilled')
        expect(won).toHaveLength(1)
        expect((await store.getById(id))?.version).toBe(2)
      })

      it('[W43] does not revert a suspension or a placement when a whole stale tenant is handed in', async () => {
        const stale = await insertIn('active')
        await store.setStatus(stale.id, 'suspended')
        const updated = await store.update(stale.id, { ...stale, name: 'New' })
        expect(updated).toMatchObject({ name: 'New', status: 'suspended', placement: stale.placement })
      })

      it('merges metadata on the top level; null removes a key; a null inside a value stays', async () => {
        const metadata = { keep: 1, drop: 2, replace: { a: 1, b: 2 } }
        const { id } = await store.insert(newTenant({ metadata }))
        const patch = { drop: null, absent: null, replace: { a: null, list: [null] }, added: 'x', skipped: undefined }
        const updated = await store.update(id, { metadata: patch })
        expect(updated.metadata).toEqual({ keep: 1, replace: { a: null, list: [null] }, added: 'x' })
        expect((await store.getById(id))?.metadata).toEqual(updated.metadata)
      })

      it('treats odd keys as keys', async () => {
        const odd = JSON.parse('{"__proto__": {"x": 1}, "": 2, "a,b}\\"{": 3, "constructor": 4}') as Record<
          string,
          unknown
        >
        const { id } = await store.insert(newTenant())
        expect(JSON.stringify(sorted((await store.update(id, { metadata: odd })).metadata))).toBe(
          JSON.stringify(sorted(odd)),
        )
        const nulls = Object.fromEntries(Object.keys(odd).map((key) => [key, null]))
        expect((await store.update(id, { metadata: nulls })).metadata).toEqual({})
      })

      it('keeps the keys of 60 writers at once', async () => {
        const { id } = await store.insert(newTenant())
        await Promise.all(Array.from({ length: 60 }, (_, n) => store.update(id, { metadata: { [`key${n}`]: n } })))
        const tenant = await store.getById(id)
        expect(Object.keys(tenant?.metadata ?? {})).toHaveLength(60)
        expect(tenant?.version).toBe(61)
      })

      it('leaves the row alone when the patch is empty', async () => {
        const tenant = await store.insert(newTenant())
        expect(await store.update(tenant.id, {})).toEqual(tenant)
        expect(await store.update(tenant.id, {}, 1)).toEqual(tenant)
      })

      it('refuses a patch that no tenant may have', async () => {
        const { id } = await store.insert(newTenant())
        const patches: [object, string][] = [
          [{ identifier: 'No Slug' }, 'TENANCY_ERR_IDENTIFIER_INVALID'],
          [{ name: '' }, 'TENANCY_ERR_TENANT_INVALID'],
          [{ metadata: [] }, 'TENANCY_ERR_TENANT_INVALID'],
          [{ metadata: null }, 'TENANCY_ERR_TENANT_INVALID'],
        ]
        for (const [patch, code] of patches) await expect(store.update(id, patch)).rejects.toMatchObject({ code })
        expect((await store.getById(id))?.version).toBe(1)
      })

      it('tells a tenant that is not there', async () => {
        for (const id of [randomUUID(), 'acme']) {
          await expect(store.update(id, { name: 'x' })).rejects.toMatchObject({ code: 'TENANCY_ERR_TENANT_NOT_FOUND' })
          await expect(store.update(id, {}, 3)).rejects.toMatchObject({ code: 'TENANCY_ERR_TENANT_NOT_FOUND' })
        }
      })
    })

    describe('[W14] status', () => {
      for (const from of statuses) {
        for (const to of statuses) {
          const legal = transitions[from].includes(to)
          it(`${legal ? 'goes' : 'does not go'} from ${from} to ${to}`, async () => {
            const tenant = await insertIn(from)
            if (legal) {
              const moved = await store.setStatus(tenant.id, to)
              expect(moved).toEqual({ ...tenant, status: to, version: tenant.version + 1, updatedAt: moved.updatedAt })
              expect(await store.getById(tenant.id)).toEqual(moved)
            } else {
              await expect(store.setStatus(tenant.id, to)).rejects.toMatchObject({
                code: 'TENANCY_ERR_STATUS_TRANSITION',
                message: expect.stringContaining(`A tenant cannot go from ${from} to ${to}.`) as string,
              })
              expect(await store.getById(tenant.id)).toEqual(tenant)
            }
          })
        }
      }

      it('refuses a status that does not exist', async () => {
        const { id } = await insertIn('active')
        for (const status of ['frozen', 'constructor', '']) {
          await expect(store.setStatus(id, status as TenantStatus)).rejects.toMatchObject({
            code: 'TENANCY_ERR_STATUS_TRANSITION',
          })
        }
      })

      it('lets one of many that make the same move win', async () => {
        const { id } = await insertIn('active')
        const moves = await Promise.allSettled(Array.from({ length: 10 }, () => store.setStatus(id, 'deleted')))
        expect(moves.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
      })

      it('tells a tenant that is not there', async () => {
        for (const id of [randomUUID(), 'acme']) {
          await expect(store.setStatus(id, 'active')).rejects.toMatchObject({ code: 'TENANCY_ERR_TENANT_NOT_FOUND' })
        }
      })
    })

    describe('discard', () => {
      it.each(statuses)('of a tenant in status %s', async (status) => {
        const tenant = await insertIn(status)
        const gone = status === 'provisioning'
        expect(await store.discard(tenant.id)).toBe(gone)
        expect(await store.getById(tenant.id)).toEqual(gone ? undefined : tenant)
        expect(await store.getByIdentifier(tenant.identifier)).toEqual(gone ? undefined : tenant)
        if (gone) await store.insert(newTenant({ identifier: tenant.identifier }))
      })

      it('gives false for what is not there', async () => {
        expect(await store.discard(randomUUID())).toBe(false)
        expect(await store.discard('acme')).toBe(false)
      })
    })

    describe('list and count', () => {
      it('pages newest first, each tenant once, also when rows change and come in between', async () => {
        const inserted = await Promise.all(Array.from({ length: 25 }, () => store.insert(newTenant())))
        const expected = [...inserted].sort(newestFirst).map(({ id }) => id)
        const seen: string[] = []
        let after: string | undefined
        do {
          const page = await store.list({ limit: 4, ...(after !== undefined && { after }) })
          expect(page.tenants.length).toBeLessThanOrEqual(4)
          seen.push(...page.tenants.map(({ id }) => id))
          after = page.next
          await store.update(expected[0] as string, { name: `Page ${seen.length}` })
          await store.insert(newTenant({ identifier: `late-${seen.length}` }))
        } while (after !== undefined)
        // A late one may be listed: it can be born in the same millisecond.
        expect(seen.filter((id) => expected.includes(id))).toEqual(expected)
        expect(new Set(seen).size).toBe(seen.length)
      })

      it('has no next page when the last one is full', async () => {
        for (let n = 0; n < 4; n++) await store.insert(newTenant())
        const first = await store.list({ limit: 2 })
        const second = await store.list({ limit: 2, after: first.next as string })
        expect(second.tenants).toHaveLength(2)
        expect(second).not.toHaveProperty('next')
      })

      it('filters and counts by status', async () => {
        const active = await insertIn('active')
        await insertIn('suspended')
        await insertIn('purged')
        expect((await store.list({ status: 'active' })).tenants).toEqual([active])
        expect((await store.list()).tenants).toHaveLength(3)
        expect([await store.count(), await store.count('active'), await store.count('purging')]).toEqual([3, 1, 0])
      })

      it('takes limits from 1 to 1000, and 100 when none is given', async () => {
        for (let batch = 0; batch < 4; batch++) {
          await Promise.all(Array.from({ length: 26 }, () => store.insert(newTenant())))
        }
        expect((await store.list()).tenants).toHaveLength(100)
        expect((await store.list({ limit: 1000 })).tenants).toHaveLength(104)
        for (const limit of [0, -1, 1001, 1.5, Number.NaN, '5' as unknown as number]) {
          await expect(store.list({ limit })).rejects.toMatchObject({ code: 'TENANCY_ERR_TENANT_INVALID' })
        }
      })

      it('[W36] finds identifiers and names by any part of them, whatever its case', async () => {
        const names: Record<string, string> = {
          acme: 'Acme Inc.',
          globex: 'The  Globex\nCorporation',
          'muller-sons': 'MÜLLER & Söhne',
          road: 'Große Straße',
          odos: 'ΟΔΟΣ ΣΟΦΙΑΣ',
          moskva: 'Москва',
          tokyo: '株式会社 東京',
          wide: 'Ｗｉｄｅ Ｌｔｄ',
          decomposed: 'Cafe\u0301 Noir',
          per: '100%_\\sure\'s "[a-z]" *? thing',
          odd: 'x_y',
          i: 'İstanbul',
        }
        for (const [identifier, name] of Object.entries(names)) {
          await store.insert(newTenant({ identifier: identifier.padEnd(3, '-x'), name }))
        }
        const found = async (search: string) =>
          (await store.list({ search })).tenants.map(({ identifier }) => identifier).sort()
        const cases: [search: string, ...found: string[]][] = [
          ['acme', 'acme'],
          ['ACME INC', 'acme'],
          ['the globex corp', 'globex'],
          ['müller', 'muller-sons'],
          ['SÖHNE', 'muller-sons'],
          ['Muller', 'muller-sons'],
          ['STRASSE', 'road'],
          ['STRAẞE', 'road'],
          ['große str', 'road'],
          ['οδοσ', 'odos'],
          ['οδος σοφιας', 'odos'],
          ['оск', 'moskva'],
          ['МОСКВА', 'moskva'],
          ['東', 'tokyo'],
          ['wide ltd', 'wide'],
          ['CAFÉ', 'decomposed'],
          ['cafe\u0301', 'decomposed'],
          ['cafe'],
          ['%', 'per'],
          ['_', 'odd', 'per'],
          ['0%_\\S', 'per'],
          ['\\', 'per'],
          ['\'s "[A-Z]" *?', 'per'],
          ['a%e'],
          ['istanbul'],
          ['İSTANBUL', 'i-x'],
          ["' or 1=1 --"],
          ['acme acme inc'],
          ['nothing like it'],
        ]
        for (const [search, ...expected] of cases)
          expect([search, ...(await found(search))]).toEqual([search, ...expected])
        expect(await found('')).toHaveLength(Object.keys(names).length)
      })

      it('[W36] finds a tenant by its new name and identifier only, and within a status', async () => {
        const { id } = await insertIn('active')
        await store.update(id, { name: 'Ünique' })
        await store.update(id, { metadata: { a: 1 } })
        await store.update(id, { identifier: 'brand-new' })
        const found = async (options: object) => (await store.list(options)).tenants.length
        expect(await found({ search: 'ÜNIQUE' })).toBe(1)
        expect(await found({ search: 'brand' })).toBe(1)
        expect(await found({ search: 'Acme' })).toBe(0)
        expect(await found({ search: `t-${id.slice(0, 13)}` })).toBe(0)
        expect(await found({ search: 'brand', status: 'active' })).toBe(1)
        expect(await found({ search: 'brand', status: 'suspended' })).toBe(0)
      })

      it('[W36] finds what is beyond the first hundred, page by page', async () => {
        const expected: Tenant[] = []
        for (let n = 0; n < 7; n++) expected.push(await store.insert(newTenant({ name: `The NEEDLE ${n}` })))
        for (let n = 0; n < 130; n += 26) {
          await Promise.all(Array.from({ length: 26 }, () => store.insert(newTenant({ name: 'Hay' }))))
        }
        const seen: Tenant[] = []
        for (let page = await store.list({ search: 'needle', limit: 3 }); ; ) {
          seen.push(...page.tenants)
          if (page.next === undefined) break
          page = await store.list({ search: 'needle', limit: 3, after: page.next })
        }
        expect(seen).toEqual(expected.sort(newestFirst))
      })

      it('refuses a search that is no text of at most 255 characters', async () => {
        for (const search of ['x'.repeat(256), 'a\0b', '\ud800', 5 as unknown as string, null as unknown as string]) {
          await expect(store.list({ search })).rejects.toMatchObject({ code: 'TENANCY_ERR_TENANT_INVALID' })
        }
        expect((await store.list({ search: '\ufdfa'.repeat(255) })).tenants).toEqual([])
        const widest = await store.insert(newTenant({ name: '\ufdfa'.repeat(255) }))
        expect((await store.list({ search: '\ufdfa'.repeat(255) })).tenants).toEqual([widest])
      })

      it('refuses a cursor it did not hand out', async () => {
        const { id } = await store.insert(newTenant())
        const cursors = ['', 'x', '\0', "' or 1=1 --", 'x'.repeat(100_000), 5 as unknown as string]
        const texts = [`infinity ${id}`, `2026-13-01T00:00:00.000Z ${id}`, `2026-01-01T00:00:00.000Z ${id} x`]
        texts.push(`2026-01-01T00:00:00.000Z ${id.slice(1)}'`, '{}', `2026-02-30T00:00:00.000Z ${id}`)
        cursors.push(...texts.map((text) => Buffer.from(text).toString('base64url')))
        for (const after of cursors) {
          await expect(store.list({ after })).rejects.toMatchObject({ code: 'TENANCY_ERR_TENANT_INVALID' })
        }
      })
    })

    describe('changes', () => {
      const changes = async (after?: string, of = store): Promise<RegistryChanges> => {
        const read = await of.changes?.(after)
        return read ?? expect.fail('This store does not tell its changes.')
      }

      it('tell what was written after a position, as it is now, each tenant once, in the order of the changes', async () => {
        const before = await insertIn('active')
        const start = await changes()
        expect(start).toMatchObject({ tenants: [], more: false, reset: false })
        const first = await store.insert(newTenant())
        const second = await store.insert(newTenant({ metadata: { a: 1 } }))
        await store.update(first.id, { name: 'New' })
        const moved = await store.setStatus(first.id, 'active')
        const suspended = await store.setStatus(before.id, 'suspended')
        const read = await changes(start.position, fixture.open())
        expect(read).toMatchObject({ tenants: [second, moved, suspended], more: false, reset: false })
        expect(isDeepFrozen(read)).toBe(true)
        expect(await changes(read.position)).toEqual({ ...read, tenants: [] })
      })

      it('are nothing after what was refused, had nothing to change, or is gone', async () => {
        const tenant = await store.insert(newTenant({ identifier: 'acme' }))
        const { position } = await changes()
        await store.insert(newTenant({ identifier: 'acme' })).catch(() => {})
        await store.update(tenant.id, { name: 'New' }, 99).catch(() => {})
        await store.setStatus(tenant.id, 'purged').catch(() => {})
        await store.update(tenant.id, {})
        await store.discard((await store.insert(newTenant())).id)
        expect(await changes(position)).toMatchObject({ tenants: [], more: false, reset: false })
      })

      it('come in reads of 500, none missed and none twice', async () => {
        const { position } = await changes()
        const inserted = await Promise.all(Array.from({ length: 1001 }, () => store.insert(newTenant())))
        const seen: string[] = []
        let read = await changes(position)
        for (; read.more; read = await changes(read.position)) {
          expect(read.tenants).toHaveLength(500)
          seen.push(...read.tenants.map(({ id }) => id))
        }
        seen.push(...read.tenants.map(({ id }) => id))
        expect([...seen].sort()).toEqual(inserted.map(({ id }) => id).sort())
        expect((await changes(read.position)).tenants).toEqual([])
      })

      it('miss nothing that is written while they are read', async () => {
        const tenants = await Promise.all(Array.from({ length: 4 }, () => store.insert(newTenant())))
        let { position } = await changes()
        const seen = new Map<string, number>()
        const look = async (): Promise<void> => {
          const read = await changes(position, reader)
          position = read.position
          for (const { id, version } of read.tenants) seen.set(id, version)
        }
        const reader = fixture.open()
        const writers = tenants.map(async ({ id }) => {
          for (let n = 0; n < 15; n++) await store.update(id, { name: `Name ${n}` })
        })
        const all = Promise.all(writers).then(() => 'done')
        while ((await Promise.race([all, look()])) !== 'done');
        await look()
        expect([...seen.values()]).toEqual([16, 16, 16, 16])
      })

      it('say so when the registry is older than the position', async () => {
        await store.insert(newTenant())
        const read = await changes(await positionAfter(999_999_999, store))
        expect(read).toEqual({ ...(await changes()), reset: true })
      })

      it('say so when the registry is another one, whatever numbers it has', async () => {
        const { position } = await changes()
        await store.insert(newTenant())
        const elsewhere = position.replace(/^./, (first) => (first === '0' ? '1' : '0'))
        expect(await changes(elsewhere)).toEqual({ ...(await changes()), reset: true })
        expect((await changes(position)).reset).toBe(false)
      })

      it('refuse a position that was not handed out', async () => {
        const id = randomUUID()
        const positions = [
          '',
          '1',
          'x',
          '@',
          '@-1',
          '@1 x',
          `@1 ${id} 2`,
          'a b@1',
          '@@1',
          "@1' or 1=1 --",
          `${'x'.repeat(1e5)}@1`,
        ]
        for (const position of [...positions, 5 as unknown as string]) {
          await expect(changes(position)).rejects.toMatchObject({ code: 'TENANCY_ERR_TENANT_INVALID' })
        }
      })
    })

    describe('hot tenants', () => {
      it('are those that were noted last, in their order, also for another process', async () => {
        expect(await store.hotTenants?.()).toEqual([])
        const ids = Array.from({ length: 2000 }, () => randomUUID())
        await store.noteHotTenants?.([randomUUID()])
        await store.noteHotTenants?.(ids)
        expect(await fixture.open().hotTenants?.()).toEqual(ids)
        await store.initialize()
        expect(await store.hotTenants?.()).toEqual(ids)
        await store.noteHotTenants?.([])
        expect(await store.hotTenants?.()).toEqual([])
      })

      it('are noted without a change that others would read', async () => {
        const before = await store.changes?.()
        await store.noteHotTenants?.([randomUUID()])
        expect(await store.changes?.()).toEqual(before)
      })
    })

    it('answers a ping', async () => {
      await expect(store.ping()).resolves.toBeUndefined()
    })
  })
}

/** True when nothing reachable from `value` can be changed. */
export function isDeepFrozen(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return true
  return Object.isFrozen(value) && Object.values(value).every(isDeepFrozen)
}

function newestFirst(a: Tenant, b: Tenant): number {
  return b.createdAt.localeCompare(a.createdAt) || (a.id < b.id ? 1 : -1)
}

function sorted(value: object): unknown {
  return Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))
}
