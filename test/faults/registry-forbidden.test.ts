import { setTimeout as sleep } from 'node:timers/promises'
import { mysqlTable, serial } from 'drizzle-orm/mysql-core'
import Fastify from 'fastify'
import { expect, it, onTestFinished } from 'vitest'
import tenancy, { type TenancyError, type TenancyOptions } from '../../src/index.ts'
import { describeWith } from '../servers/suite.ts'
import { as, tenantApp } from '../support/app.ts'
import { asSuperuser, baselineDatabase } from '../support/database.ts'
import { asRoot, mysqlDatabase } from '../support/mysql.ts'

const CODE = 'TENANCY_ERR_STORE_FORBIDDEN'
const UNHEALTHY = { ok: false, checks: { database: { ok: true }, store: { ok: false, code: CODE } } }

describeWith(['postgres18'], 'a right that is missing in the registry on PostgreSQL', ({ postgres18 }) => {
  const fresh = async () => {
    const database = await baselineDatabase(postgres18.url)
    onTestFinished(() => database.drop())
    const asRootOf = (text: string) => asSuperuser(database, (superuser) => superuser.query(text))
    return { database, asRootOf }
  }

  it('to make it is told at the start, with the statement that gives it', async () => {
    const { database, asRootOf } = await fresh()
    await asRootOf(`revoke create on database ${database.database} from ${database.ownerRole}`)
    const app = await tenantApp(database)
    onTestFinished(() => app.close())
    await expect(app.ready()).rejects.toMatchObject({
      code: CODE,
      statusCode: 503,
      message: expect.stringContaining('`grant connect, create, temporary on database …`') as string,
      cause: { code: '42501' },
    })
    await asRootOf(`grant connect, create, temporary on database ${database.database} to ${database.ownerRole}`)
    const mended = await tenantApp(database)
    onTestFinished(() => mended.close())
    await mended.ready()
  })

  it('is told as the option that is missing, or as two that may be swapped', async () => {
    const { database } = await fresh()
    const { appUrl, adminUrl } = database
    for (const [advice, not, options] of [
      ['`adminDatabaseUrl` is not set', 'roles', { adminDatabaseUrl: undefined }],
      ['`adminDatabaseUrl` is not set, or has the account of', 'roles', { adminDatabaseUrl: appUrl }],
      ['`adminDatabaseUrl` swapped?', 'not set', { databaseUrl: adminUrl, adminDatabaseUrl: appUrl }],
    ] as const) {
      const app = await tenantApp(database, options)
      onTestFinished(() => app.close())
      const failure: unknown = await Promise.resolve(app.ready()).catch((error: unknown) => error)
      const { message, code } = failure as TenancyError
      expect([code, message]).toEqual([CODE, expect.stringContaining(advice)])
      expect(message).not.toContain(not)
    }
  })

  it('to read it is told in the log, and in the answer without any advice, while cached tenants are served', async () => {
    const { database, asRootOf } = await fresh()
    const logged: string[] = []
    const app = await tenantApp(database, {}, { logger: { stream: { write: (line) => void logged.push(line) } } })
    onTestFinished(() => app.close())
    app.get('/', async () => 'served')
    await app.ready()
    await app.tenancy.register({ identifier: 'acme' })
    // Whoever is told of its own registration reads the tenant anew.
    await sleep(1000)
    expect((await app.inject({ url: '/', headers: as('acme') })).body).toBe('served')
    await asRootOf(`alter schema tenancy owner to postgres; revoke all on schema tenancy from ${database.ownerRole}`)
    expect((await app.inject({ url: '/', headers: as('acme') })).body).toBe('served')
    const answer = await app.inject({ url: '/', headers: as('globex') })
    expect(answer.json()).toMatchObject({ code: CODE, status: 503 })
    expect(answer.headers['retry-after']).toBe('5')
    expect(answer.json()).toMatchObject({ detail: 'A right is missing in the tenant store.' })
    expect(JSON.stringify(logged)).toContain('must be owned by that role')
    for (const name of [database.ownerRole, database.database, 'permission denied', 'grant', 'adminDatabaseUrl'])
      expect(answer.body).not.toContain(name)
    const advice = expect.stringContaining('must be owned by that role') as string
    await expect(app.tenancy.register({ identifier: 'globex' })).rejects.toMatchObject({ code: CODE, message: advice })
    expect(await app.tenancy.health()).toMatchObject(UNHEALTHY)
    const both = await app.tenancy.suspendMany(['acme', 'globex'])
    for (const { error } of both) expect(error).toMatchObject({ code: CODE })
    await asRootOf(`alter schema tenancy owner to ${database.ownerRole}`)
    expect(await app.tenancy.suspend('acme')).toMatchObject({ status: 'suspended' })
  })
})

describeWith(['postgres18'], 'health() of a registry on PostgreSQL', ({ postgres18 }) => {
  it.each(['tenants', 'change_counter'])(
    'says that the right to read %s is missing, and that it is back',
    async (table) => {
      const database = await baselineDatabase(postgres18.url)
      onTestFinished(() => database.drop())
      const asRootOf = (text: string) => asSuperuser(database, (superuser) => superuser.query(text))
      const app = await tenantApp(database)
      onTestFinished(() => app.close())
      expect(await app.tenancy.health()).toMatchObject({ ok: true })
      await asRootOf(`revoke select on tenancy.${table} from ${database.ownerRole}`)
      expect(await app.tenancy.health()).toMatchObject(UNHEALTHY)
      await asRootOf(`grant select on tenancy.${table} to ${database.ownerRole}`)
      expect(await app.tenancy.health()).toMatchObject({ ok: true })
    },
  )
})

describeWith(['mariadb'], 'a right that is missing in the registry on MariaDB', ({ mariadb }) => {
  it('is told with the grant that gives it', async () => {
    const database = await mysqlDatabase(mariadb.url)
    onTestFinished(() => database.drop())
    const started = async (wrong: TenancyOptions = {}) => {
      const app = Fastify({ pluginTimeout: 60_000 })
      onTestFinished(() => app.close())
      const { url: databaseUrl, adminUrl: adminDatabaseUrl } = database
      await app.register(tenancy, {
        databaseUrl,
        adminDatabaseUrl,
        registrySchema: `registry_${database.adminUser}`,
        isolationStrategy: 'schema',
        schema: { items: mysqlTable('items', { id: serial() }) },
        ...wrong,
      })
      await app.ready()
      return app
    }
    const forbidden = {
      code: CODE,
      message: expect.stringContaining('`grant all on` the database of the registry') as string,
    }
    await expect(started()).rejects.toMatchObject(forbidden)
    const { url: databaseUrl, adminUrl } = database
    await expect(started({ adminDatabaseUrl: undefined })).rejects.toThrow(
      /`adminDatabaseUrl` is not set, or has (?!.*grant)/,
    )
    await expect(started({ databaseUrl: adminUrl, adminDatabaseUrl: databaseUrl })).rejects.toThrow('swapped?')
    await asRoot(database.superUrl, [
      `grant all on \`registry\\_${database.adminUser.replace('_', '\\_')}\`.* to ${database.adminUser}@'%'`,
    ])
    const app = await started()
    expect(await app.tenancy.health()).toMatchObject({ ok: true })
    await asRoot(database.superUrl, [
      `revoke all on \`registry\\_${database.adminUser.replace('_', '\\_')}\`.* from ${database.adminUser}@'%'`,
    ])
    expect(await app.tenancy.health()).toMatchObject(UNHEALTHY)
  })
})
