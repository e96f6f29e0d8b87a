import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { inspect } from 'node:util'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Cipher, SecretPlace } from '../../src/contracts/cipher.ts'
import type { TenantStore } from '../../src/contracts/store.ts'
import type { Tenant } from '../../src/contracts/tenant.ts'
import { tenancyError } from '../../src/errors.ts'
import { createCipher, noCipher } from '../../src/encryption/cipher.ts'
import { fernetReader } from '../../src/encryption/fernet.ts'
import { type EncryptionKey, parseEncryptionKey } from '../../src/encryption/keys.ts'
import { reencrypt } from '../../src/lifecycle/reencrypt.ts'
import { createEncryptingTenantStore } from '../../src/tenants/encrypting-store.ts'
import { createSecretFields } from '../../src/tenants/secret-fields.ts'
import { isTenantSecret } from '../../src/tenants/tenant-secret.ts'
import { isDeepFrozen, newTenant } from './store.ts'

/** A registry, and the way past the library to what is in it. */
export interface SecretsFixture {
  /** The store that keeps secrets sealed. */
  readonly store: TenantStore
  /** What the column of metadata holds, as text. */
  column(id: string): Promise<string>
  /** Puts something else into the column. */
  overwrite(id: string, metadata: object): Promise<void>
  drop(): Promise<void>
}

export function newKey(id: string): EncryptionKey {
  return parseEncryptionKey(`${id}:${randomBytes(32).toString('base64')}`) as EncryptionKey
}

/** Opens a secret of a tenant's metadata. */
export async function reveal(value: unknown): Promise<unknown> {
  if (!isTenantSecret(value)) throw new TypeError(`${inspect(value)} is no secret`)
  return value.reveal()
}

const SECRET = 'p@ss-of-acme'
const [k1, k2] = [newKey('k1'), newKey('k2')]
const cipher = createCipher({ current: k1, allowPlaintext: false })
const unreadable = { code: 'TENANCY_ERR_SECRET_UNREADABLE' }

/** What encryption at rest promises, on a real registry. */
export function describeSecrets(name: string, createFixture: () => Promise<SecretsFixture>): void {
  describe(`secrets in the registry: ${name}`, () => {
    let fixture: SecretsFixture
    let store: TenantStore
    const sealed = (by: Cipher = cipher) =>
      createEncryptingTenantStore({ store: fixture.store, secrets: createSecretFields(by, '_enc_') })
    const parsed = async (id: string) => JSON.parse(await fixture.column(id)) as Record<string, unknown>

    beforeAll(async () => {
      fixture = await createFixture()
      store = sealed()
      await store.initialize()
    })
    afterAll(() => fixture.drop())

    const insert = (metadata: Record<string, unknown>, by = store): Promise<Tenant> =>
      by.insert(newTenant({ metadata }))

    describe('[W34] every write', () => {
      it('of a new tenant seals what is marked, and nothing else', async () => {
        const { id } = await insert({ _enc_token: SECRET, plan: 'pro' })
        const column = await fixture.column(id)
        expect(column).not.toContain(SECRET)
        expect(await parsed(id)).toEqual({ _enc_token: expect.stringMatching(/^enc:1:k1:[\w-]+$/), plan: 'pro' })
      })

      it('of an update seals it too, and a null removes it', async () => {
        const { id } = await insert({ plan: 'pro' })
        const updated = await store.update(id, { metadata: { _enc_token: SECRET, _enc_gone: null } })
        expect(await reveal(updated.metadata['_enc_token'])).toBe(SECRET)
        expect(await fixture.column(id)).not.toContain(SECRET)
        expect((await store.update(id, { metadata: { _enc_token: null } })).metadata).toEqual({ plan: 'pro' })
        expect(await parsed(id)).toEqual({ plan: 'pro' })
      })

      it('seals numbers, booleans, lists and objects, and what is marked inside of others', async () => {
        const values = {
          _enc_number: 4711,
          _enc_flag: false,
          _enc_list: [SECRET],
          _enc_db: { host: 'h', _enc_pw: SECRET },
        }
        const metadata = {
          ...values,
          smtp: { host: 'mail', _enc_password: SECRET },
          list: [{ '_enc_a/b~c': SECRET }, ['_enc_not_a_key']],
        }
        const { id } = await insert(metadata)
        const column = await fixture.column(id)
        for (const clear of [SECRET, '4711', 'false']) expect(column).not.toContain(clear)
        const read = (await store.getById(id))?.metadata ?? {}
        for (const [key, value] of Object.entries(values)) expect(await reveal(read[key])).toEqual(value)
        const { smtp, list } = read as { smtp: Record<string, unknown>; list: [Record<string, unknown>, string[]] }
        expect(smtp['host']).toBe('mail')
        expect(await reveal(smtp['_enc_password'])).toBe(SECRET)
        expect(await reveal(list[0]['_enc_a/b~c'])).toBe(SECRET)
        expect(list[1]).toEqual(['_enc_not_a_key'])
      })

      it('seals once what a getter or toJSON gave, and takes no second look', async () => {
        let looks = 0
        const metadata = {
          shown: { toJSON: () => (looks++ === 0 ? { _enc_token: SECRET } : { token: SECRET }) },
          get other() {
            return looks++ < 2 ? { _enc_token: SECRET } : { token: SECRET }
          },
        }
        const { id } = await insert(metadata)
        expect(await fixture.column(id)).not.toContain(SECRET)
      })

      it('of any metadata gives back what was put in, and shows none of what is marked', async () => {
        const keys = fc.oneof(fc.constantFrom('_enc_a', '_enc_', '_enc_~/', 'plain', '__proto__', '0'), fc.string())
        const storable = (text: string) => !/[\0\p{Surrogate}]/u.test(text)
        const json = fc.letrec<{ node: unknown }>((tie) => ({
          node: fc.oneof(
            { depthSize: 'small' },
            fc.oneof(fc.string().filter(storable), fc.integer(), fc.boolean(), fc.constant(null)),
            fc.array(tie('node'), { maxLength: 3 }),
            fc.dictionary(keys.filter(storable), tie('node'), { maxKeys: 4 }),
          ),
        })).node
        const metadata = fc.dictionary(keys.filter(storable), json, { maxKeys: 4 })
        await fc.assert(
          fc.asyncProperty(metadata, async (value) => {
            const input = JSON.parse(JSON.stringify(value)) as Record<string, unknown>
            const { id } = await insert(input)
            expect(leftClear(JSON.parse(await fixture.column(id)))).toEqual([])
            const read = (await store.getById(id))?.metadata
            expect(isDeepFrozen(read)).toBe(true)
            expect(await opened(read)).toEqual(input)
          }),
          { numRuns: 60 },
        )
      })

      it('of the keys of 60 writers at once keeps them all', async () => {
        const { id } = await insert({})
        await Promise.all(Array.from({ length: 60 }, (_, n) => store.update(id, { metadata: { [`_enc_${n}`]: n } })))
        const tenant = await store.getById(id)
        expect(tenant?.version).toBe(61)
        for (let n = 0; n < 60; n++) expect(await reveal(tenant?.metadata[`_enc_${n}`])).toBe(n)
      })

      it('is refused without encryption, and nothing is stored', async () => {
        const off = sealed(noCipher)
        const before = await store.count()
        const { id } = await insert({ plan: 'pro' }, off)
        const refused = { code: 'TENANCY_ERR_ENCRYPTION_OFF' }
        await expect(insert({ _enc_token: SECRET }, off)).rejects.toMatchObject(refused)
        await expect(off.update(id, { metadata: { deep: [{ _enc_token: 1 }] } })).rejects.toMatchObject(refused)
        expect(await parsed(id)).toEqual({ plan: 'pro' })
        expect(await store.count()).toBe(before + 1)
      })
    })

    describe('[W34] every read', () => {
      it('gives a value that opens when asked', async () => {
        const tenant = await insert({ _enc_token: SECRET })
        const reads = [
          tenant,
          await store.getById(tenant.id),
          await store.getByIdentifier(tenant.identifier),
          (await store.list()).tenants.find(({ id }) => id === tenant.id),
          await store.update(tenant.id, { name: 'New' }),
          await store.setStatus(tenant.id, 'active'),
        ]
        for (const read of reads) {
          expect(await reveal(read?.metadata['_enc_token'])).toBe(SECRET)
          expect(isDeepFrozen(read)).toBe(true)
        }
      })

      it('shows neither the value nor what is stored, however it is printed', async () => {
        const { id } = await insert({ _enc_token: SECRET })
        const tenant = (await store.getById(id)) as Tenant
        const secret = tenant.metadata['_enc_token'] as object
        const printed = [
          JSON.stringify(tenant),
          inspect(tenant, { depth: null, showHidden: true }),
          inspect(tenant, { depth: null, showHidden: true, customInspect: false, getters: true }),
          // oxlint-disable-next-line typescript/no-base-to-string -- the mistake under test
          String(secret),
          inspect(structuredClone(secret)),
          JSON.stringify({ ...secret }),
          Object.entries(secret).join(),
        ]
        for (const text of printed) {
          expect(text).not.toContain(SECRET)
          expect(text).not.toContain('enc:1')
        }
        expect(printed[0]).toContain('"_enc_token":"[redacted]"')
      })

      it('of one value that does not open spoils neither its tenant nor a list', async () => {
        const { id } = await insert({ _enc_good: SECRET, plan: 'pro' })
        const column = await parsed(id)
        await fixture.overwrite(id, { ...column, _enc_bad: 'enc:1:k1:AAAA' })
        const tenant = (await store.list()).tenants.find((one) => one.id === id)
        expect(tenant?.metadata['plan']).toBe('pro')
        expect(await reveal(tenant?.metadata['_enc_good'])).toBe(SECRET)
        await expect(reveal(tenant?.metadata['_enc_bad'])).rejects.toMatchObject(unreadable)
        await store.update(id, { metadata: { _enc_bad: null } })
      })
    })

    describe('[W44] a value', () => {
      it('that was moved to another tenant or another field does not open', async () => {
        const acme = await insert({ _enc_token: SECRET, smtp: { _enc_token: 'other' } })
        const globex = await insert({ _enc_token: 'of globex' })
        const { _enc_token: stolen } = await parsed(acme.id)
        await fixture.overwrite(globex.id, { _enc_token: stolen })
        await fixture.overwrite(acme.id, { _enc_other: stolen, smtp: { _enc_token: stolen } })
        const moved = [(await store.getById(globex.id))?.metadata['_enc_token']]
        const { _enc_other: other, smtp } = (await store.getById(acme.id))?.metadata ?? {}
        moved.push(other, (smtp as Record<string, unknown>)['_enc_token'])
        for (const value of moved) await expect(reveal(value)).rejects.toMatchObject(unreadable)
        await fixture.overwrite(acme.id, { _enc_token: stolen })
        expect(await reveal((await store.getById(acme.id))?.metadata['_enc_token'])).toBe(SECRET)
      })

      it('that looks like a sealed one is text, and does not open what it holds', async () => {
        const acme = await insert({ _enc_token: SECRET })
        const { _enc_token: stolen } = await parsed(acme.id)
        const { vectors } = fernetVectors()
        const stored = vectors[0]?.values[0]?.stored
        const spoofed = { _enc_a: stolen, _enc_b: 'enc::x', _enc_c: stored, note: stolen }
        const fernet = fernetReader(vectors[0]?.passphrase ?? '')
        const reader = sealed(createCipher({ current: k1, fernet, allowPlaintext: true }))
        const { id } = await insert(spoofed)
        const read = (await reader.getById(id))?.metadata ?? {}
        expect(await opened(read)).toEqual(spoofed)
        expect(await fixture.column(id)).not.toContain(`"_enc_a":"${String(stolen)}"`)
      })

      it('under a wrong key is an error that names the key and not the value', async () => {
        const { id } = await insert({ _enc_token: SECRET })
        const stranger = sealed(createCipher({ current: newKey('k1'), allowPlaintext: true }))
        const rotated = sealed(createCipher({ current: k2, allowPlaintext: true }))
        for (const [reader, what] of [
          [stranger, 'does not open it'],
          [rotated, 'is not configured'],
        ] as const) {
          const value = (await reader.getById(id))?.metadata['_enc_token']
          const error: unknown = await reveal(value).catch((reason: unknown) => reason)
          expect(error).toMatchObject(unreadable)
          expect(String(error)).toContain(`the key "k1" ${what}`)
          expect(inspect(error, { depth: null })).not.toMatch(/p@ss|enc:1/)
        }
      })

      it('in clear is given out only where that is allowed, and sealed by the next update', async () => {
        const { id } = await insert({})
        await fixture.overwrite(id, { _enc_token: SECRET, _enc_number: 5, plan: 'pro' })
        const value = (await store.getById(id))?.metadata['_enc_token']
        await expect(reveal(value)).rejects.toMatchObject({ code: 'TENANCY_ERR_SECRET_IN_CLEAR' })
        await store.update(id, { name: 'New' })
        expect(await fixture.column(id)).toContain(SECRET)
        const lenient = sealed(createCipher({ current: k1, allowPlaintext: true }))
        const found = (await lenient.getById(id))?.metadata ?? {}
        expect(await opened(found)).toEqual({ _enc_token: SECRET, _enc_number: 5, plan: 'pro' })
        const updated = await lenient.update(id, { name: 'Newer' })
        expect(updated).toEqual(await lenient.getById(id))
        expect(await fixture.column(id)).not.toContain(SECRET)
        expect(await opened((await store.getById(id))?.metadata)).toEqual({
          _enc_token: SECRET,
          _enc_number: 5,
          plan: 'pro',
        })
      })
    })

    describe('values of fastapi-tenancy', () => {
      it('[W44] are read, and sealed anew by the next update', async () => {
        for (const { passphrase, values } of fernetVectors().vectors) {
          const { id } = await insert({})
          const column = Object.fromEntries(values.map(({ stored }, n) => [`_enc_${n}`, stored]))
          const texts = Object.fromEntries(values.map(({ text }, n) => [`_enc_${n}`, text]))
          await fixture.overwrite(id, { ...column, plan: 'pro' })
          const reader = sealed(createCipher({ current: k1, fernet: fernetReader(passphrase), allowPlaintext: false }))
          expect(await opened((await reader.getById(id))?.metadata)).toEqual({ ...texts, plan: 'pro' })
          await reader.update(id, { metadata: { plan: 'free' } })
          expect(await fixture.column(id)).not.toContain('enc::')
          expect(await opened((await store.getById(id))?.metadata)).toEqual({ ...texts, plan: 'free' })
        }
      })

      it('stay as they are when somebody else came in between', async () => {
        const { passphrase, values } = fernetVectors().vectors[0] as ReturnType<typeof fernetVectors>['vectors'][0]
        const { id } = await insert({})
        await fixture.overwrite(id, { _enc_0: values[2]?.stored })
        const by = createCipher({ current: k1, fernet: fernetReader(passphrase), allowPlaintext: false })
        let updates = 0
        // The store itself, but another writer is quicker than the second write of an update.
        const raced: TenantStore = {
          ...fixture.store,
          async update(...parameters) {
            if (++updates === 2) await store.update(id, { metadata: { _enc_0: 'newer' } })
            return fixture.store.update(...parameters)
          },
        }
        await createEncryptingTenantStore({ store: raced, secrets: createSecretFields(by, '_enc_') }).update(id, {
          name: 'New',
        })
        expect(updates).toBe(2)
        expect(await reveal((await store.getById(id))?.metadata['_enc_0'])).toBe('newer')
      })
    })

    describe('[W44] rotation', () => {
      const rotated = createCipher({ current: k2, older: [k1], allowPlaintext: true })

      it('seals everything anew, also what is in clear, and leaves nothing for a second run', async () => {
        const old = await Promise.all(
          Array.from({ length: 5 }, (_, n) => insert({ _enc_n: n, deep: { _enc_list: [SECRET] }, plan: 'pro' })),
        )
        const clear = await insert({ plan: 'pro' })
        await fixture.overwrite(clear.id, { _enc_n: SECRET, plan: 'pro' })
        const untouched = await insert({ plan: 'pro' })
        const current = await insert({ _enc_n: 1 }, sealed(rotated))
        const first = await reencrypt(sealed(rotated))
        expect(first).toMatchObject({ tenants: await store.count(), contended: 0 })
        expect(first.resealed).toBeGreaterThanOrEqual(6)
        for (const { id } of [...old, clear]) expect(await fixture.column(id)).not.toMatch(/enc:1:k1|p@ss/)
        const alone = sealed(createCipher({ current: k2, allowPlaintext: false }))
        for (const [n, { id }] of old.entries()) {
          const expected = { _enc_n: n, deep: { _enc_list: [SECRET] }, plan: 'pro' }
          expect(await opened((await alone.getById(id))?.metadata)).toEqual(expected)
        }
        expect((await store.getById(untouched.id))?.version).toBe(1)
        expect((await store.getById(current.id))?.version).toBe(1)
        expect(await reencrypt(sealed(rotated))).toEqual({ ...first, resealed: 0 })
      })

      it('that broke off goes on where it was when it is run again', async () => {
        const made = await Promise.all(Array.from({ length: 5 }, (_, n) => insert({ _enc_n: n })))
        let left = 2
        // The store itself, which is gone after two writes.
        const breaking: TenantStore = {
          ...fixture.store,
          async update(...parameters) {
            if (left-- === 0) throw tenancyError('TENANCY_ERR_STORE_UNAVAILABLE')
            return fixture.store.update(...parameters)
          },
        }
        const broken = createEncryptingTenantStore({ store: breaking, secrets: createSecretFields(rotated, '_enc_') })
        await expect(reencrypt(broken)).rejects.toMatchObject({ code: 'TENANCY_ERR_STORE_UNAVAILABLE' })
        const done = await Promise.all(made.map(({ id }) => fixture.column(id)))
        expect(done.filter((column) => column.includes('enc:1:k2'))).toHaveLength(2)
        await reencrypt(sealed(rotated))
        for (const [n, { id }] of made.entries()) {
          const tenant = (await sealed(rotated).getById(id)) as Tenant
          expect(tenant.version).toBe(2)
          expect(await reveal(tenant.metadata['_enc_n'])).toBe(n)
        }
      })

      it('goes on past what does not open, and tells whose it is', async () => {
        const { id } = await insert({ _enc_good: SECRET })
        await fixture.overwrite(id, {
          ...(await parsed(id)),
          _enc_bad: 'enc:1:gone:AAAA',
          mixed: { _enc_bad: 'enc::x' },
        })
        const { unreadableIds, unreadable } = await reencrypt(sealed(rotated))
        expect(unreadable).toBe(unreadableIds.length)
        expect(unreadableIds).toContain(id)
        expect(await parsed(id)).toEqual({
          _enc_good: expect.stringMatching(/^enc:1:k2:/),
          _enc_bad: 'enc:1:gone:AAAA',
          mixed: { _enc_bad: 'enc::x' },
        })
      })

      it('counts what another key of the current id has sealed, and leaves it as it is', async () => {
        const wrong = sealed(createCipher({ current: newKey('k2'), allowPlaintext: false }))
        const { id } = await insert(
          { deep: [{ _enc_n: SECRET }] },
          sealed(createCipher({ current: k2, allowPlaintext: false })),
        )
        const before = await fixture.column(id)
        const { resealed, unreadableIds } = await reencrypt(wrong)
        expect(resealed).toBe(0)
        expect(unreadableIds).toContain(id)
        expect(await fixture.column(id)).toBe(before)
        expect((await reencrypt(sealed(rotated))).unreadableIds).not.toContain(id)
      })

      it('never puts an older value over a newer one', async () => {
        const { id } = await insert({ _enc_n: 'old' })
        // The store itself, but a writer is quicker than each of the first writes of the job.
        let races = 0
        const writer = sealed(createCipher({ current: k1, allowPlaintext: false }))
        const raced: TenantStore = {
          ...fixture.store,
          async update(other, ...rest) {
            if (other === id && races++ < 2) await writer.update(id, { metadata: { _enc_n: `newer ${races}` } })
            return fixture.store.update(other, ...rest)
          },
        }
        await reencrypt(createEncryptingTenantStore({ store: raced, secrets: createSecretFields(rotated, '_enc_') }))
        expect(races).toBe(3)
        expect(await fixture.column(id)).toContain('enc:1:k2:')
        expect(await reveal((await sealed(rotated).getById(id))?.metadata['_enc_n'])).toBe('newer 2')
      })

      it('gives up on a tenant that others never stop changing, and says so', async () => {
        const { id } = await insert({ _enc_n: 'old' })
        const writer = sealed(createCipher({ current: k1, allowPlaintext: false }))
        const raced: TenantStore = {
          ...fixture.store,
          async update(other, ...rest) {
            if (other === id) await writer.update(id, { metadata: { _enc_n: 'newest' } })
            return fixture.store.update(other, ...rest)
          },
        }
        const busy = createEncryptingTenantStore({ store: raced, secrets: createSecretFields(rotated, '_enc_') })
        expect(await reencrypt(busy)).toMatchObject({ contended: 1 })
        expect(await reveal((await store.getById(id))?.metadata['_enc_n'])).toBe('newest')
      })

      it('runs beside 20 writers, and loses none of what they write', async () => {
        const { id } = await insert(Object.fromEntries(Array.from({ length: 20 }, (_, n) => [`_enc_${n}`, 'old'])))
        const writers = Array.from({ length: 20 }, (_, n) => store.update(id, { metadata: { [`_enc_${n}`]: n } }))
        await Promise.all([...writers, reencrypt(sealed(rotated))])
        await reencrypt(sealed(rotated))
        expect(await fixture.column(id)).not.toContain('enc:1:k1')
        const { metadata } = (await sealed(rotated).getById(id)) as Tenant
        for (let n = 0; n < 20; n++) expect(await reveal(metadata[`_enc_${n}`])).toBe(n)
      })
    })

    describe('a secret that is handed in again', () => {
      it('is kept: at its key, at another, inside of one', async () => {
        const tenant = await insert({ _enc_a: SECRET, smtp: { host: 'old', _enc_p: 'inner' } })
        const { _enc_a: a, smtp } = tenant.metadata as { _enc_a: unknown; smtp: object }
        const metadata = { ...tenant.metadata, smtp: { ...smtp, host: 'new' }, _enc_b: a, _enc_c: { list: [a, { a }] } }
        await store.update(tenant.id, { metadata })
        expect(await fixture.column(tenant.id)).not.toMatch(/redacted|p@ss/)
        expect(await opened((await store.getById(tenant.id))?.metadata)).toEqual({
          _enc_a: SECRET,
          smtp: { host: 'new', _enc_p: 'inner' },
          _enc_b: SECRET,
          _enc_c: { list: [SECRET, { a: SECRET }] },
        })
      })

      it('is refused at a key without the mark, where it would be stored in clear', async () => {
        const tenant = await insert({ _enc_a: SECRET })
        const a = tenant.metadata['_enc_a']
        for (const metadata of [{ a }, { deep: [{ a }] }, a as Record<string, unknown>]) {
          await expect(store.update(tenant.id, { metadata })).rejects.toMatchObject({
            code: 'TENANCY_ERR_TENANT_INVALID',
          })
        }
        expect((await store.getById(tenant.id))?.version).toBe(1)
      })

      it('that does not open stops the write, before anything is written', async () => {
        const { id } = await insert({ plan: 'pro' })
        await fixture.overwrite(id, { _enc_bad: 'enc:1:k9:AAAA', plan: 'pro' })
        const tenant = (await store.getById(id)) as Tenant
        await expect(store.update(id, { metadata: { ...tenant.metadata, plan: 'free' } })).rejects.toMatchObject(
          unreadable,
        )
        expect(await parsed(id)).toEqual({ _enc_bad: 'enc:1:k9:AAAA', plan: 'pro' })
        expect((await store.update(id, { metadata: { plan: 'free' } })).metadata['plan']).toBe('free')
      })
    })
  })
}

export function fernetVectors() {
  return JSON.parse(readFileSync(new URL('../fixtures/fernet.json', import.meta.url), 'utf8')) as {
    vectors: { passphrase: string; values: { text: string; stored: string }[] }[]
  }
}

/** Metadata with every secret in it opened. */
export async function opened(value: unknown): Promise<unknown> {
  if (isTenantSecret(value)) return value.reveal()
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return Promise.all(value.map(opened))
  const entries = Object.entries(value).map(async ([key, inner]) => [key, await opened(inner)] as const)
  return Object.fromEntries(await Promise.all(entries))
}

/** The paths of marked values that are neither sealed nor null. */
function leftClear(value: unknown, path: SecretPlace['field'] = ''): string[] {
  if (typeof value !== 'object' || value === null) return []
  return Object.entries(value).flatMap(([key, inner]: [string, unknown]) => {
    if (Array.isArray(value) || !key.startsWith('_enc_')) return leftClear(inner, `${path}/${key}`)
    return inner === null || (typeof inner === 'string' && /^enc:1:k1:[\w-]+$/.test(inner)) ? [] : [`${path}/${key}`]
  })
}
