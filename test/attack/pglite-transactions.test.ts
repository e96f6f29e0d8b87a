import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { sql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/pglite'
import Fastify, { type FastifyInstance } from 'fastify'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { codeOf } from './operation.ts'
import { add, addMigrations, call, db, gate, itemsMigration, namesIn } from '../faults/fixture.ts'
import { tenancy, type TenancyOptions } from '../../src/index.ts'

const TRANSACTION = { config: { tenancy: { transaction: true } } } as const

let migrations = ''
beforeAll(async () => {
  migrations = await mkdtemp(join(tmpdir(), 'tenancy-migrations-'))
  await addMigrations(migrations, 1, itemsMigration)
})
afterAll(() => rm(migrations, { recursive: true, force: true }))

async function embedded(options: TenancyOptions, routes: (app: FastifyInstance) => void): Promise<FastifyInstance> {
  const app = Fastify({ pluginTimeout: 120_000 })
  await app.register(tenancy, {
    databaseUrl: 'pglite:memory',
    migrations,
    drizzle: (client) => drizzle({ client }),
    ...options,
  })
  routes(app)
  await app.ready()
  for (const identifier of ['acme', 'globex']) await app.tenancy.register({ identifier })
  return app
}

describe('what happens at once in a transaction of PGlite', () => {
  let app: FastifyInstance
  let later: Promise<unknown>

  beforeAll(async () => {
    app = await embedded({}, (made) => {
      made.post('/unawaited', TRANSACTION, async () => {
        later = add('unawaited')
        later.catch(() => {})
        return 'ok'
      })
      made.post('/half', TRANSACTION, async () => {
        const begun = gate()
        later = db().transaction(async (tx) => {
          await add('half 1', tx)
          begun.open()
          await sleep(100)
          await add('half 2', tx)
        })
        later.catch(() => {})
        await begun.passed
        return 'ok'
      })
      made.post('/two', TRANSACTION, async () => {
        const results = await Promise.allSettled([
          db().transaction(async (tx) => {
            await add('A', tx)
            await sleep(50)
            throw new Error('A fails')
          }),
          db().transaction((tx) => add('B', tx)),
        ])
        return results.map(({ status }) => status)
      })
    })
  }, 120_000)
  afterAll(() => app.close())
  beforeEach(() => app.tenancy.run('acme', () => db().execute(sql`delete from items`)))

  it('a transaction that is told to be committed is, whatever comes after its callback', async () => {
    const outcome = await app.tenancy.run('acme', () =>
      db()
        .transaction(async (tx) => {
          await add('kept', tx)
          // The second comes while it is asked whether the transaction still lives.
          void tx
            .execute(sql`select 1`)
            .then(() => tx.execute(sql`select 1/0`))
            .catch(() => {})
        })
        .then(() => 'committed', codeOf),
    )
    expect(outcome).toBe('committed')
    expect(await namesIn(app)).toEqual(['kept'])
  })

  it('a nested one that nobody awaited is not half committed', async () => {
    const begun = gate()
    const outcome = await app.tenancy.run('acme', () => {
      const outer = db()
      return outer
        .transaction(async () => {
          outer
            .transaction(async (tx) => {
              await add('half 1', tx)
              begun.open()
              await sleep(100)
              await add('half 2', tx)
            })
            .catch(() => {})
          await begun.passed
        })
        .then(() => 'committed', codeOf)
    })
    expect(outcome).toBe('TENANCY_ERR_TRANSACTION_ROLLED_BACK')
    await sleep(150)
    expect(await namesIn(app)).toEqual([])
  })

  it('a statement that nobody awaits settles, also when its request is answered first', async () => {
    expect((await call(app, '/unawaited', 'POST')).body).toBe('ok')
    expect(await Promise.race([later.catch(codeOf), sleep(3000, 'never')])).toBe('TENANCY_ERR_TRANSACTION_FINISHED')
  })

  it('a request does not commit half of a nested one', async () => {
    expect((await call(app, '/half', 'POST')).statusCode).toBe(500)
    await later.catch(() => {})
    expect(await namesIn(app)).toEqual([])
  })

  it('of two nested ones side by side, the one that is told to be done is', async () => {
    expect((await call(app, '/two', 'POST')).json()).toEqual(['rejected', 'fulfilled'])
    expect(await namesIn(app)).toEqual(['B'])
  })
})

it('a change of a tenant cannot be undone with a transaction of `adminDb()`, and remembered as done', async () => {
  const app = await embedded({}, () => {})
  const admin = (await app.tenancy.adminDb()) as ReturnType<typeof db>
  const suspension: unknown[] = []
  const undone = admin.transaction(async (tx) => {
    await tx.execute(sql`select 1`)
    suspension.push(
      await app.tenancy.suspend('acme').catch(codeOf),
      await admin.execute(sql`select 1`).then(() => 'joined'),
    )
    throw new Error('undone')
  })
  await expect(undone).rejects.toThrow('undone')
  expect(suspension).toEqual(['TENANCY_ERR_TRANSACTION_BUSY', 'joined'])
  expect(await app.tenancy.get('acme')).toMatchObject({ status: 'active' })
  expect(await app.tenancy.run('acme', () => 'served')).toBe('served')
  await app.close()
})

describe('the role of another tenant in a transaction of PGlite', () => {
  type Sender = Pick<ReturnType<typeof db>, 'execute'>
  let app: FastifyInstance
  let other = ''
  /** Two statements at once, of which the second would run as whom the first became. */
  const steal = (tx: Sender) =>
    Promise.allSettled([
      tx.execute(sql.raw(`set role ${other}`)),
      tx.execute(sql.raw(`update ${other}.items set name = name || ', and A was here' returning name`)),
    ])

  beforeAll(async () => {
    app = await embedded({ tenantRoles: true }, (made) => {
      made.post('/', TRANSACTION, async () => (await steal(db()))[1])
    })
    const { placement } = (await app.tenancy.get('globex')) as { placement: { namespace: string } }
    other = placement.namespace
    await app.tenancy.run('globex', () => add('secret of B'))
  }, 120_000)
  afterAll(() => app.close())

  it('is not that of a statement beside the one that took it', async () => {
    let stolen = ''
    const attack = app.tenancy.run('acme', () =>
      db().transaction(async (tx) => {
        stolen = (await steal(tx))[1].status
      }),
    )
    expect(await attack.catch(codeOf)).toBe('TENANCY_ERR_TRANSACTION_ROLLED_BACK')
    expect(stolen).toBe('rejected')
    expect(await namesIn(app, 'globex')).toEqual(['secret of B'])
  })

  it('nor in the transaction of a request', async () => {
    expect((await call(app, '/', 'POST')).body).not.toContain('secret of B')
    expect(await namesIn(app, 'globex')).toEqual(['secret of B'])
  })
})
