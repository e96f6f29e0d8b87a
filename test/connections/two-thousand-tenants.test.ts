import { connect, createServer, type Socket } from 'node:net'
import { sql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/node-postgres'
import type pg from 'pg'
import { afterAll, beforeAll, expect, it } from 'vitest'
import type { DatabaseServer } from '../../src/contracts/dialect.ts'
import type { Scope } from '../../src/contracts/isolation.ts'
import { namespaceStrategy } from '../../src/isolation/namespace.ts'
import { withPort } from '../servers/database.ts'
import { describeWith } from '../servers/suite.ts'
import { open, placedScope, testServer } from '../support/database.ts'
import { databaseHost, type DatabaseHost } from '../support/tenant-databases.ts'

const TENANTS = 2000
const DATABASES = 8
const BUDGET = 5

/*
 * Two thousand databases would be 15 GB of files. To the product there are as many: each tenant's database has a name, a
 * connection and a schema of its own. A proxy leads the names to eight databases, each with the schemas of 250 tenants.
 */
describeWith(['postgres18'], 'two thousand tenants, by as many names of eight databases', ({ postgres18 }) => {
  let host: DatabaseHost
  let server: DatabaseServer
  let aliases: Aliases
  const scopes: Scope[] = Array.from({ length: TENANTS }, () => placedScope(namespaceStrategy('database')))
  const realOf = (at: number) => `${host.database}_${at % DATABASES}`

  beforeAll(async () => {
    host = await databaseHost(postgres18.url)
    for (let at = 0; at < DATABASES; at++) {
      const owned = `create database ${realOf(at)} template ${host.template} owner ${host.ownerRole}`
      await host.asSuperuserIn('postgres', (client) => client.query(owned))
      const statements = scopes.flatMap(({ namespace }, tenant) =>
        tenant % DATABASES === at
          ? [
              `create schema ${namespace}`,
              `create table ${namespace}.items (owner int not null)`,
              `insert into ${namespace}.items values (${tenant})`,
              `grant usage on schema ${namespace} to ${host.appRole}`,
              `grant select on ${namespace}.items to ${host.appRole}`,
            ]
          : [],
      )
      await host.asSuperuserIn(realOf(at), async (client) => {
        await client.query(`grant connect on database ${realOf(at)} to ${host.appRole}`)
        await client.query(statements.join(';'))
      })
    }
    const names = new Map(scopes.map(({ namespace }, at) => [namespace, realOf(at)]))
    aliases = await startAliases(postgres18.port, names)
    server = testServer(host, {
      strategies: ['database'],
      url: withPort(host.appUrl, aliases.port),
      maxTenantConnections: BUDGET,
      tenantPoolSize: 2,
      poolTimeout: 200,
    })
    await server.open()
  }, 240_000)
  afterAll(async () => {
    await server?.close()
    await aliases?.stop()
    await host?.drop()
  })

  /** Whose row a tenant finds, by a statement that takes its time now and then. */
  const ownerOf = async (at: number): Promise<unknown> => {
    const db = drizzle({ client: server.client(scopes[at] as Scope, open) as unknown as pg.Pool })
    return (await db.execute(sql`select owner, pg_sleep(${at % 10 === 0 ? 0.02 : 0}) from items`)).rows[0]?.['owner']
  }
  const stats = () => server.stats()['tenants']

  it('[W57] used in turn by eight workers never exceed the budget and never lose a connection under a query', async () => {
    aliases.reset()
    let next = 0
    const worker = async () => {
      for (let at = next++; at < TENANTS; at = next++) expect(await ownerOf(at)).toBe(at)
    }
    await Promise.all(Array.from({ length: 8 }, worker))
    expect(aliases.peak).toBe(BUDGET)
    expect(aliases.opened).toBeGreaterThanOrEqual(TENANTS)
    expect(stats()).toMatchObject({ waiting: 0 })
  }, 240_000)

  it('[W57] all at once wait for their turn within the budget, and each gets its own row', async () => {
    aliases.reset()
    const asked = Promise.all(Array.from({ length: TENANTS }, (_, at) => ownerOf(at)))
    await expect.poll(() => stats()?.waiting).toBeGreaterThan(TENANTS / 2)
    expect(await asked).toEqual(Array.from({ length: TENANTS }, (_, at) => at))
    expect(aliases.peak).toBe(BUDGET)
    expect(stats()).toMatchObject({ waiting: 0 })
  }, 240_000)
})

interface Aliases {
  readonly port: number
  /** Most connections open at once, and all that were opened, since `reset()`. */
  readonly peak: number
  readonly opened: number
  readonly reset: () => void
  readonly stop: () => Promise<void>
}

/** A proxy in front of PostgreSQL that leads to a database by any of the names it has; it counts those connections only. */
async function startAliases(target: number, names: ReadonlyMap<string, string>): Promise<Aliases> {
  const sockets = new Set<Socket>()
  const counted = new Set<Socket>()
  let [peak, opened] = [0, 0]
  const server = createServer((near) => {
    const far = connect(target, '127.0.0.1')
    for (const socket of [near, far]) sockets.add(socket.on('error', () => {}))
    near.once('data', (hello) => {
      const { text, known } = renamed(hello, names)
      if (known) {
        counted.add(near)
        peak = Math.max(peak, counted.size)
        opened++
      }
      far.write(text)
      near.pipe(far)
    })
    // The server's end is what the client waits for: a place is free before it is taken again.
    far.once('end', () => counted.delete(near))
    far.once('close', () => counted.delete(near))
    far.pipe(near)
    near.once('close', () => far.destroy())
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  return {
    port: (server.address() as { port: number }).port,
    get peak() {
      return peak
    },
    get opened() {
      return opened
    },
    reset() {
      peak = counted.size
      opened = 0
    },
    async stop() {
      const closed = new Promise((done) => server.close(done))
      for (const socket of sockets) socket.destroy()
      await closed
    },
  }
}

/** A startup message with the database that its alias stands for. */
function renamed(hello: Buffer, names: ReadonlyMap<string, string>): { text: Buffer; known: boolean } {
  const fields = hello.subarray(8).toString('utf8').split('\0')
  const at = fields.findIndex((field, index) => index % 2 === 0 && field === 'database') + 1
  const real = names.get(fields[at] ?? '')
  if (at === 0 || real === undefined) return { text: hello, known: false }
  fields[at] = real
  const body = Buffer.from(fields.join('\0'))
  const head = Buffer.alloc(8)
  head.writeInt32BE(body.length + 8, 0)
  hello.copy(head, 4, 4, 8)
  return { text: Buffer.concat([head, body]), known: true }
}
