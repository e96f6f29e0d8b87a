import type { AddressInfo } from 'node:net'
import { sql } from 'drizzle-orm'
import type { FastifyInstance } from 'fastify'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { findTenancyError } from '../../src/errors.ts'
import { getTenant, getTenantDb, runWithTenant } from '../../src/index.ts'
import { type TestDatabase, withPort } from '../servers/database.ts'
import { describeWith } from '../servers/suite.ts'
import { type PlainDb, tenantApp } from '../support/app.ts'
import { asSuperuser, baselineDatabase } from '../support/database.ts'
import { watchForCrashes } from './attack.ts'
import { startChaos } from './chaos.ts'
import { codeOf } from './operation.ts'
import { pipelined, type Request, type Response } from './pipelined-client.ts'
import { random } from './random.ts'

const TENANTS = Array.from({ length: 50 }, (_, i) => `tenant-${String(i).padStart(2, '0')}`)
const REQUESTS = 2400
const SOCKETS = 12
const KINDS = [
  '/rows',
  '/rows',
  '/rows',
  '/nested',
  '/add',
  '/add-in-transaction',
  '/throw',
  '/throw-in-transaction',
  '/slow',
] as const

const db = () => getTenantDb() as PlainDb
const namesOf = async () =>
  (await db().execute<{ name: string }>(sql`select name from customers`)).rows.map(({ name }) => name)
const add = (ref: string) =>
  db().execute(sql`insert into customers (name, email) values (${getTenant().identifier}, ${ref}) returning name`)

interface Seen {
  readonly tenant: string
  readonly names: readonly string[]
}

interface Sent extends Request {
  readonly kind: (typeof KINDS)[number]
  readonly ref: string
  readonly other: string
}

function routes(app: FastifyInstance): void {
  const refOf = (request: { query: unknown }) => (request.query as { ref: string }).ref
  const answer = async () => ({ tenant: getTenant().identifier, names: await namesOf() })
  const failing = async (ref: string) => {
    await add(ref)
    throw new Error(`handler of ${getTenant().identifier} failed`)
  }
  const transaction = { config: { tenancy: { transaction: true } } }
  // Drizzle hides the code of a cancelled statement in the cause.
  app.setErrorHandler((error: Error, _request, reply) =>
    reply.code(findTenancyError(error)?.statusCode ?? 500).send({ code: codeOf(error), message: error.message }),
  )
  app.get('/rows', answer)
  app.get('/slow', async () => {
    await db().execute(sql`select pg_sleep(0.01)`)
    return answer()
  })
  app.get('/nested', async (request) => {
    const before = await answer()
    const { other } = request.query as { other: string }
    const theirs = await runWithTenant(other, answer)
    const failed = await runWithTenant(other, () => db().execute(sql`select 1/0`)).catch(() => 'failed')
    return { ...(await answer()), before, theirs, failed }
  })
  const adding = async (request: { query: unknown }) => {
    await add(refOf(request))
    return answer()
  }
  app.post('/add', adding)
  app.post('/add-in-transaction', transaction, adding)
  app.post('/throw', (request) => failing(refOf(request)))
  app.post('/throw-in-transaction', transaction, (request) => failing(refOf(request)))
}

interface Book {
  readonly wrong: string[]
  /** References of rows that were acknowledged, and of rows that were rolled back. */
  readonly present: Set<string>
  readonly absent: Set<string>
  /** Kinds of requests that were answered as they must be. */
  readonly done: Set<string>
}

/** Holds a response against its request: the rows of this tenant and of nobody else, or an error that a kill explains. */
function judge(sent: Sent, { status, body }: Response, { wrong, present, absent, done }: Book): void {
  const answer = JSON.parse(body) as Seen & { theirs?: Seen }
  if (sent.kind.startsWith('/throw')) {
    // A kill leaves open what happened without a transaction; in one, nothing may be left.
    if (status !== 500 && status !== 503) wrong.push(`${sent.path}: ${status}`)
    else if (sent.kind === '/throw-in-transaction') absent.add(sent.ref)
    else if (body.includes(`handler of ${sent.tenant} failed`)) present.add(sent.ref)
    done.add(sent.kind)
  } else if (status === 200) {
    if (sent.method === 'POST') present.add(sent.ref)
    check(sent.path, sent.tenant, answer, wrong)
    if (sent.kind === '/nested') check(sent.path, sent.other, answer.theirs, wrong)
    done.add(sent.kind)
  } else if (!/57014|TENANCY_ERR_DATABASE_UNAVAILABLE|TENANCY_ERR_TRANSACTION_ROLLED_BACK/.test(body)) {
    wrong.push(`${sent.path}: ${status} ${body}`)
  }
}

function check(path: string, tenant: string, seen: Seen | undefined, wrong: string[]): void {
  const names = seen?.names ?? []
  if (seen?.tenant !== tenant || names.length === 0 || names.some((name) => name !== tenant))
    wrong.push(`${path} as ${tenant}: ${seen?.tenant} saw ${[...new Set(names)].join()}`)
}

/** As superuser: each schema holds what its tenant was promised and nothing else, and no session keeps anything open. */
async function inspect(app: FastifyInstance, database: TestDatabase, book: Book): Promise<void> {
  await asSuperuser(database, async (client) => {
    const { rows: open } = await client.query(
      `select state, query from pg_stat_activity where usename = $1 and datname = current_database() and state <> 'idle'`,
      [database.appRole],
    )
    expect(open).toEqual([])
    for (const identifier of TENANTS) {
      const { namespace } = (await app.tenancy.get(identifier))?.placement ?? { namespace: '' }
      const { rows } = await client.query<{ name: string; email: string }>(
        `select name, email from "${namespace}".customers`,
      )
      for (const { name, email } of rows) {
        if (name !== identifier) book.wrong.push(`a row of ${name} is in the schema of ${identifier}`)
        if (book.absent.has(email)) book.wrong.push(`${email} was rolled back and is there`)
        book.present.delete(email)
      }
    }
  })
}

describeWith(['postgres18', 'pgbouncer18'], 'attack through the plugin', ({ postgres18, pgbouncer18 }) => {
  let database: TestDatabase

  beforeAll(async () => {
    database = await baselineDatabase(postgres18.url)
    const app = await tenantApp(database, { migrations: 'test/fixtures/migrations/kit-0.31' })
    for (const identifier of TENANTS) {
      await app.tenancy.ensure({ identifier })
      await app.tenancy.run(identifier, () => add(`${identifier}-seed`))
    }
    await app.close()
  })
  afterAll(() => database?.drop())

  const cells = [
    { poolSize: 1, through: 'direct' },
    { poolSize: 5, through: 'direct' },
    { poolSize: 5, through: 'PgBouncer' },
  ] as const
  it.each(cells)(
    'serves nobody a foreign row: pool of $poolSize, $through',
    async ({ poolSize, through }) => {
      const url = through === 'direct' ? database.appUrl : withPort(database.appUrl, pgbouncer18.port)
      const app = await tenantApp(database, { databaseUrl: url, databasePoolSize: poolSize, databasePoolTimeout: 10 })
      routes(app)
      await app.listen({ port: 0, host: '127.0.0.1' })
      const { port } = app.server.address() as AddressInfo
      const book: Book = { wrong: [], present: new Set(), absent: new Set(), done: new Set() }
      const { wrong, present, done } = book
      const stopWatching = watchForCrashes({ note: (_kind, what) => void wrong.push(what) })
      const chaos = await startChaos(database, random(3), 60)

      let left = REQUESTS
      let references = 0
      const caller = async (number: number) => {
        const numbers = random(number + poolSize * 100)
        while (left > 0) {
          const batch: Sent[] = Array.from({ length: 1 + numbers.below(6) }, () => {
            const kind = numbers.pick(KINDS)
            const [ref, other] = [`r${poolSize}-${through}-${++references}`, numbers.pick(TENANTS)]
            const method = /add|throw/.test(kind) ? 'POST' : 'GET'
            return {
              kind,
              ref,
              other,
              method,
              path: `${kind}?ref=${ref}&other=${other}`,
              tenant: numbers.pick(TENANTS),
            }
          })
          left -= batch.length
          const responses = await pipelined(port, batch, numbers.chance(0.2) ? numbers.below(15) : undefined)
          responses.forEach((response, i) => judge(batch[i] as Sent, response, book))
        }
      }
      await Promise.all(Array.from({ length: SOCKETS }, (_, number) => caller(number)))
      await chaos.stop()
      expect(chaos.killed).toBeGreaterThan(0)
      const pool = () => app.tenancy.getMetrics().pools['serving']
      await expect
        .poll(() => (pool()?.waiting === 0 && pool()?.idle === pool()?.total ? 'at rest' : pool()))
        .toBe('at rest')
      stopWatching()
      await inspect(app, database, book)
      await app.close()
      expect(wrong).toEqual([])
      expect([...present]).toEqual([])
      expect([...done].sort()).toEqual([...new Set(KINDS)].sort())
    },
    60_000,
  )
})
