import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { reencryptCommand } from '../../src/cli/reencrypt.ts'
import type { TestDatabase } from '../servers/database.ts'
import { describeWith } from '../servers/suite.ts'
import { tenantApp } from '../support/app.ts'
import { asSuperuser, baselineDatabase } from '../support/database.ts'

const keyOf = (id: string) => `${id}:${randomBytes(32).toString('base64')}`
const [k1, k2] = [keyOf('k1'), keyOf('k2')]

async function call(environment: Record<string, string>, ...args: string[]) {
  const written = { out: '', err: '' }
  const output = {
    out: (text: string) => void (written.out += text),
    err: (text: string) => void (written.err += text),
  }
  return { code: await reencryptCommand(args, output, environment), ...written }
}

describeWith(['postgres18'], 'fastify-tenancy reencrypt', ({ postgres18 }) => {
  let database: TestDatabase
  let environment: Record<string, string>
  beforeAll(async () => {
    database = await baselineDatabase(postgres18.url)
    environment = {
      TENANCY_DATABASE_URL: database.appUrl,
      TENANCY_ADMIN_DATABASE_URL: database.adminUrl,
      TENANCY_ENABLE_ENCRYPTION: 'true',
      TENANCY_ENCRYPTION_KEY: k2,
      TENANCY_ENCRYPTION_OLD_KEYS: k1,
    }
    const app = await tenantApp(database, { enableEncryption: true, encryptionKey: k1 })
    await app.ready()
    for (const identifier of ['acme', 'globex']) {
      await app.tenancy.register({ identifier, metadata: { _enc_token: 'p@ss' } })
    }
    await app.close()
  })
  afterAll(() => database?.drop())
  const sealedWith = (key: string) =>
    asSuperuser(database, async (client) => {
      const text = 'select 1 from tenancy.tenants where metadata::text like $1'
      return (await client.query(text, [`%enc:1:${key}:%`])).rowCount
    })

  test('[W44] 1 while something does not open, and whose it is; 0 when nothing is left', async () => {
    const { TENANCY_ENCRYPTION_OLD_KEYS: _, ...without } = environment
    const stuck = await call(without)
    expect(stuck).toMatchObject({ code: 1, err: '' })
    expect(stuck.out).toMatch(
      /^2 tenants: 0 sealed anew, 2 with a secret that does not open, 0 to try again\.\n(does not open: [0-9a-f-]{36}\n){2}$/,
    )
    expect(await call(environment)).toEqual({
      code: 0,
      err: '',
      out: '2 tenants: 2 sealed anew, 0 with a secret that does not open, 0 to try again.\n',
    })
    expect([await sealedWith('k1'), await sealedWith('k2')]).toEqual([0, 2])
    // A key of the same id that is another one.
    const wrong = await call({ ...without, TENANCY_ENCRYPTION_KEY: keyOf('k2') })
    expect(wrong).toMatchObject({
      code: 1,
      out: expect.stringMatching(/^2 tenants: 0 sealed anew, 2 with a secret that does not open/) as string,
    })
    const { code, out } = await call(without, '--json')
    expect({ code, ...(JSON.parse(out) as object) }).toEqual({
      code: 0,
      tenants: 2,
      resealed: 0,
      unreadable: 0,
      unreadableIds: [],
      contended: 0,
    })
  })

  test('2 when it could not be found out, without a key in what it says', async () => {
    const off = await call({ TENANCY_DATABASE_URL: database.appUrl })
    expect(off).toMatchObject({
      code: 2,
      out: '',
      err: expect.stringContaining('TENANCY_ERR_ENCRYPTION_OFF') as string,
    })
    const wrong = await call({ ...environment, TENANCY_ENCRYPTION_KEY: `${k2}x` })
    expect(wrong).toMatchObject({
      code: 2,
      out: '',
      err: expect.stringContaining('TENANCY_ERR_CONFIG_INVALID') as string,
    })
    expect(wrong.err).not.toContain(k2.slice(4, 20))
  })

  test('tells how it is used', async () => {
    expect(await call({}, '--help')).toMatchObject({ code: 0, out: expect.stringContaining('Exit status') as string })
  })
})
