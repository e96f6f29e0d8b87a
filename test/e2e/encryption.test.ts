import { randomBytes } from 'node:crypto'
import type { FastifyInstance } from 'fastify'
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import { getTenant, isTenantSecret, type TenancyOptions } from '../../src/index.ts'
import type { TestDatabase } from '../servers/database.ts'
import { describeWith } from '../servers/suite.ts'
import { as, tenantApp } from '../support/app.ts'
import { asSuperuser, baselineDatabase } from '../support/database.ts'

const SECRET = 'postgres://acme:p@ss-of-acme@reports/acme'
const keyOf = (id: string) => `${id}:${randomBytes(32).toString('base64')}`
const [k1, k2] = [keyOf('k1'), keyOf('k2')]

describeWith(['postgres18'], 'encryption in an app', ({ postgres18 }) => {
  let database: TestDatabase
  let log: string
  const apps: FastifyInstance[] = []

  beforeAll(async () => {
    database = await baselineDatabase(postgres18.url)
  })
  afterEach(async () => {
    await Promise.all(apps.splice(0).map((app) => app.close()))
  })
  afterAll(() => database?.drop())

  const appWith = async (options: TenancyOptions): Promise<FastifyInstance> => {
    log = ''
    const stream = { write: (line: string) => void (log += line) }
    const app = await tenantApp(database, { databaseEcho: true, ...options }, { logger: { level: 'trace', stream } })
    apps.push(app)
    app.get('/tenant', async (request) => {
      request.log.info({ tenant: request.tenant }, 'asked')
      return request.tenant
    })
    app.get('/report', async () => {
      const { _enc_reports: url } = getTenant().metadata
      return { length: isTenantSecret(url) ? String(await url.reveal()).length : 0 }
    })
    await app.ready()
    return app
  }
  const columnOf = (identifier: string) =>
    asSuperuser(database, async (client) => {
      const text = 'select metadata::text as metadata from tenancy.tenants where identifier = $1'
      return String((await client.query<{ metadata: string }>(text, [identifier])).rows[0]?.metadata)
    })

  it('a secret reaches the handler that asks for it, and no column, log or reply', async () => {
    const app = await appWith({ enableEncryption: true, encryptionKey: k1 })
    const registered = await app.tenancy.register({
      identifier: 'acme',
      metadata: { _enc_reports: SECRET, plan: 'pro' },
    })
    app.log.info({ registered }, 'registered')
    const headers = as('acme')
    const shown = await app.inject({ url: '/tenant', headers })
    expect(shown.json()).toMatchObject({ metadata: { _enc_reports: '[redacted]', plan: 'pro' } })
    // Twice: from the registry, then from L1.
    for (let turn = 0; turn < 2; turn++) {
      expect((await app.inject({ url: '/report', headers })).json()).toEqual({ length: SECRET.length })
    }
    expect(await columnOf('acme')).toMatch(/"_enc_reports": ?"enc:1:k1:/)
    expect(log).toContain('[redacted]')
    for (const text of [await columnOf('acme'), log, shown.body]) expect(text).not.toContain('p@ss-of-acme')
  })

  it('[W44] a rotation: the new key writes, the job seals the rest, the old key can go', async () => {
    const before = await appWith({ enableEncryption: true, encryptionKey: k1 })
    await before.tenancy.ensure({ identifier: 'globex', metadata: { _enc_reports: SECRET } })
    const app = await appWith({ enableEncryption: true, encryptionKey: k2, encryptionOldKeys: [k1] })
    expect((await app.inject({ url: '/report', headers: as('globex') })).json()).toEqual({ length: SECRET.length })
    const report = await app.tenancy.reencrypt()
    expect(report).toMatchObject({
      resealed: await app.tenancy.list().then(({ tenants }) => tenants.length),
      unreadable: 0,
    })
    expect(await app.tenancy.reencrypt()).toMatchObject({ resealed: 0, unreadable: 0, contended: 0 })
    expect(await columnOf('globex')).toMatch(/enc:1:k2:/)
    const after = await appWith({ enableEncryption: true, encryptionKey: k2 })
    expect((await after.inject({ url: '/report', headers: as('globex') })).json()).toEqual({ length: SECRET.length })
  })

  it('with a wrong key the tenant is served, and who asks for the secret is told which key it is', async () => {
    const before = await appWith({ enableEncryption: true, encryptionKey: k1 })
    await before.tenancy.ensure({ identifier: 'hooli', metadata: { _enc_reports: SECRET } })
    const app = await appWith({ enableEncryption: true, encryptionKey: keyOf('k1') })
    expect((await app.inject({ url: '/tenant', headers: as('hooli') })).statusCode).toBe(200)
    const refused = await app.inject({ url: '/report', headers: as('hooli') })
    expect(refused.statusCode).toBe(500)
    expect(refused.json()).toMatchObject({ code: 'TENANCY_ERR_SECRET_UNREADABLE' })
    expect(refused.body).toContain('\\"k1\\"')
    for (const text of [refused.body, log]) expect(text).not.toMatch(/p@ss-of-acme|enc:1/)
  })

  it('without encryption no secret is taken, and none given out', async () => {
    const before = await appWith({ enableEncryption: true, encryptionKey: k1 })
    await before.tenancy.ensure({ identifier: 'initech', metadata: { _enc_reports: SECRET } })
    const app = await appWith({})
    const off = { code: 'TENANCY_ERR_ENCRYPTION_OFF' }
    const registration = { identifier: 'umbrella', metadata: { _enc_reports: SECRET } }
    await expect(app.tenancy.register(registration)).rejects.toMatchObject(off)
    expect(await app.tenancy.get('umbrella')).toBeUndefined()
    await expect(app.tenancy.reencrypt()).rejects.toMatchObject(off)
    expect((await app.inject({ url: '/report', headers: as('initech') })).json()).toMatchObject(off)
  })

  it('the mark can be another one', async () => {
    const app = await appWith({ enableEncryption: true, encryptionKey: k1, encryptedPrefix: 'secret.' })
    await app.tenancy.register({ identifier: 'wonka', metadata: { 'secret.url': SECRET, _enc_not: 'clear' } })
    expect(JSON.parse(await columnOf('wonka'))).toEqual({
      'secret.url': expect.stringMatching(/^enc:1:k1:/),
      _enc_not: 'clear',
    })
  })
})
