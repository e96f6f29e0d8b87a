import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { drizzle as libsqlDrizzle } from 'drizzle-orm/libsql'
import { drizzle as mysqlDrizzle } from 'drizzle-orm/mysql2'
import Fastify, { type FastifyInstance } from 'fastify'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import tenancy, {
  createMemoryTenantStore,
  getTenantDb,
  type Placement,
  type StrategyName,
  type TenancyOptions,
} from '../../src/index.ts'
import { describeWith } from '../servers/suite.ts'
import { as } from '../support/app.ts'
import { type MysqlDatabase, mysqlDatabase } from '../support/mysql.ts'
import { mysqlNotes, mysqlRows, type NotesDb, notesMigrations, sqliteNotes, sqliteRows } from '../support/notes.ts'

// PostgreSQL: test/e2e/strategies.test.ts and test/e2e/tenant-databases.test.ts.

/** A database on which several strategies are mixed. */
interface Engine {
  readonly notes: ReturnType<typeof sqliteNotes>
  readonly options: () => TenancyOptions
  /** How many notes of this tenant there are, asked past the product. */
  readonly rowsOf: (placement: Placement) => Promise<number>
  /** Premium and standard strategy. */
  readonly mixtures: readonly (readonly [premium: StrategyName, standard: StrategyName])[]
  /** What each strategy becomes; what is not here is refused. */
  readonly carried: Readonly<Partial<Record<StrategyName, StrategyName>>>
}

const folder = mkdtempSync(join(tmpdir(), 'tenancy-hybrid-'))
const migrations = notesMigrations(folder, '`')
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const db = () => getTenantDb() as NotesDb

function mixes({ notes, options, rowsOf, mixtures, carried }: Engine): void {
  const appWith = async (more: TenancyOptions) => {
    const logged: string[] = []
    const stream = new Writable({
      write(line: Buffer, _encoding, done) {
        logged.push((JSON.parse(String(line)) as { msg: string }).msg)
        done()
      },
    })
    const app = Fastify({ logger: { level: 'warn', stream } }) as unknown as FastifyInstance
    onTestFinished(() => app.close())
    await app.register(tenancy, {
      isolationStrategy: 'hybrid',
      migrations,
      schema: { notes },
      tenantStore: createMemoryTenantStore(),
      ...options(),
      ...more,
    })
    app.get('/notes', async () => (await db().select().from(notes)).map(({ body }) => body))
    app.post('/notes/:body', { config: { tenancy: { transaction: true } } }, async (request) => {
      const { body } = request.params as { body: string }
      await db().insert(notes).values({ id: 1, body })
      return 'added'
    })
    app.delete('/notes', async () => {
      await db().delete(notes)
      return 'gone'
    })
    return { app, logged }
  }
  const get = async (app: FastifyInstance, tenant: string) =>
    (await app.inject({ url: '/notes', headers: as(tenant) })).json<string[]>()
  const add = async (app: FastifyInstance, tenant: string, body = `${tenant}.0`) =>
    (await app.inject({ method: 'POST', url: `/notes/${body}`, headers: as(tenant) })).body

  it.each(mixtures)(
    '[W2] [W25] [W35] %s for premium tenants and %s for all others, by tier, list or wish',
    async (premium, standard) => {
      const { app } = await appWith({
        premiumIsolationStrategy: premium,
        standardIsolationStrategy: standard,
        premiumTenants: ['listed'],
        premiumTiers: ['gold'],
      })
      const placements = new Map<string, Placement>()
      const register = async (identifier: string, more: object = {}) => {
        const { placement } = await app.tenancy.register({ identifier, ...more })
        placements.set(identifier, placement)
        return placement.strategy
      }
      expect(await register('listed')).toBe(premium)
      expect(await register('tiered', { metadata: { tier: 'gold' } })).toBe(premium)
      expect(await register('wishing', { strategy: premium })).toBe(premium)
      expect(await register('standard')).toBe(standard)
      expect(await register('silver', { metadata: { tier: 'silver' } })).toBe(standard)
      expect(await register('modest', { strategy: standard, metadata: { tier: 'gold' } })).toBe(standard)

      const names = [...placements.keys()]
      await Promise.all(
        Array.from({ length: 240 }, async (_, index) => {
          const name = names[(index * 5) % names.length] as string
          expect(await add(app, name, `${name}.${index}`)).toBe('added')
          for (const body of await get(app, name)) expect(body.startsWith(`${name}.`)).toBe(true)
        }),
      )
      for (const name of names) {
        const bodies = await get(app, name)
        expect(bodies).toHaveLength(40)
        expect(bodies.filter((body) => !body.startsWith(`${name}.`))).toEqual([])
        expect(await rowsOf(placements.get(name) as Placement)).toBe(40)
      }
      // A tenant that moves up keeps its place: only its data could move it.
      await app.tenancy.update('standard', { metadata: { tier: 'gold' }, identifier: 'risen' })
      expect(await get(app, 'risen')).toHaveLength(40)
      // What one of either kind removes is gone from nobody else.
      for (const name of ['listed', 'silver']) await app.inject({ method: 'DELETE', url: '/notes', headers: as(name) })
      for (const name of ['tiered', 'modest']) {
        await app.tenancy.delete(name)
        await app.tenancy.purge(name)
      }
      for (const name of ['listed', 'silver']) expect(await get(app, name)).toEqual([])
      for (const name of ['wishing', 'risen']) expect(await get(app, name)).toHaveLength(40)
    },
  )

  it('[W35] a function chooses among all that the database carries', async () => {
    const { app, logged } = await appWith({ chooseStrategy: ({ metadata }) => metadata['strategy'] as StrategyName })
    for (const [strategy, becomes] of Object.entries(carried)) {
      const identifier = `by-${strategy}`
      const { placement } = await app.tenancy.register({ identifier, metadata: { strategy } })
      expect(placement.strategy).toBe(becomes)
      await add(app, identifier)
    }
    for (const strategy of Object.keys(carried)) expect(await get(app, `by-${strategy}`)).toEqual([`by-${strategy}.0`])
    const standIns = Object.entries(carried).filter(([asked, becomes]) => asked !== becomes)
    expect(logged.filter((line) => line.includes('stands in for it'))).toHaveLength(standIns.length)
  })

  it.each(['rls', 'nonsense', undefined])(
    '[W53] a function that says %s is refused at registration, and nothing is stored',
    async (strategy) => {
      const { app } = await appWith({ chooseStrategy: () => strategy as StrategyName })
      const refused = app.tenancy.register({ identifier: 'refused' })
      await expect(refused).rejects.toMatchObject({ code: 'TENANCY_ERR_STRATEGY_UNSUPPORTED' })
      expect(await app.tenancy.get('refused')).toBeUndefined()
    },
  )

  it('the default pair has row policies, which are not there: said at boot', async () => {
    await expect(appWith({})).rejects.toMatchObject({
      code: 'TENANCY_ERR_STRATEGY_UNSUPPORTED',
      message: expect.stringContaining('rls') as string,
    })
  })

  it.each(Object.entries(carried))(
    '%s alone is %s, and said once in the log where it is another',
    async (isolationStrategy, becomes) => {
      const { app, logged } = await appWith({ isolationStrategy: isolationStrategy as StrategyName })
      for (const identifier of ['one', 'two']) {
        expect(
          (await app.tenancy.register({ identifier: `${identifier}-${isolationStrategy}` })).placement.strategy,
        ).toBe(becomes)
      }
      await app.tenancy.health()
      const note = `This database does not carry the isolation strategy "${isolationStrategy}"; "${becomes}" stands in for it.`
      expect(logged.filter((line) => line.includes('does not carry'))).toEqual(
        isolationStrategy === becomes ? [] : [note],
      )
    },
  )
}

describeWith(['mariadb'], 'a hybrid on MariaDB', ({ mariadb }) => {
  let database: MysqlDatabase
  beforeAll(async () => {
    database = await mysqlDatabase(mariadb.url)
  })
  afterAll(() => database?.drop())
  mixes({
    notes: mysqlNotes() as unknown as ReturnType<typeof sqliteNotes>,
    options: () => ({
      databaseUrl: database.url,
      adminDatabaseUrl: database.adminUrl,
      drizzle: (client) => mysqlDrizzle({ client }),
    }),
    rowsOf: (placement) => mysqlRows(database, placement),
    mixtures: [
      ['schema', 'prefix'],
      ['database', 'prefix'],
      ['prefix', 'schema'],
      ['database', 'schema'],
    ],
    carried: { schema: 'schema', database: 'database', prefix: 'prefix' },
  })
})

describe('a hybrid on SQLite', () => {
  const main = join(folder, 'app.db')
  mixes({
    notes: sqliteNotes(),
    options: () => ({ databaseUrl: `file:${main}`, drizzle: (client) => libsqlDrizzle({ client }) }),
    rowsOf: (placement) => sqliteRows(main, placement),
    mixtures: [
      ['database', 'prefix'],
      ['prefix', 'database'],
    ],
    carried: { database: 'database', prefix: 'prefix', schema: 'prefix' },
  })
})
