import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { sql } from 'drizzle-orm'
import type { FastifyInstance } from 'fastify'
import { onTestFinished } from 'vitest'
import { getTenantDb, type TenancyOptions } from '../../src/index.ts'
import type { TestDatabase } from '../servers/database.ts'
import { as, type PlainDb, tenantApp } from '../support/app.ts'
import { asSuperuser } from '../support/database.ts'

/** One table that can fail in every way: at once (unique), at COMMIT (deferred), by syntax. */
export const itemsMigration = [
  'create table "items" ("id" serial primary key, "name" text not null unique, "parent" integer)',
  'alter table "items" add constraint "items_parent_fk" foreign key ("parent") references "items"("id") deferrable initially deferred',
]

/** `getTenantDb()` of the current request or job. */
export const db = (): PlainDb => getTenantDb() as PlainDb

/** `insert into items`. */
export const add = (name: string, on: Pick<PlainDb, 'execute'> = db()) =>
  on.execute(sql`insert into items (name) values (${name})`)

/** The names in `items`, seen as the tenant. */
export const namesIn = (app: FastifyInstance, tenant = 'acme'): Promise<string[]> =>
  app.tenancy.run(tenant, async () => {
    const { rows } = await db().execute<{ name: string }>(sql`select name from items order by id`)
    return rows.map(({ name }) => name)
  })

/** A migrations folder as drizzle-kit 1.0 writes it, removed with the test. */
export async function migrationsOf(...migrations: readonly (readonly string[])[]): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'tenancy-migrations-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  await addMigrations(folder, 1, ...migrations)
  return folder
}

/** Adds migrations to such a folder; `first` is the number of the first of them. */
export async function addMigrations(
  folder: string,
  first: number,
  ...migrations: readonly (readonly string[])[]
): Promise<void> {
  for (const [index, statements] of migrations.entries()) {
    const one = join(folder, `2026010100000${first + index}_step`)
    await mkdir(one)
    await writeFile(join(one, 'migration.sql'), statements.join('--> statement-breakpoint\n'))
  }
}

/** A started app that serves the tenant `acme` with an empty table `items`; closed with the test. */
export async function shop(
  database: TestDatabase,
  options: TenancyOptions = {},
  routes: (app: FastifyInstance) => void = () => {},
): Promise<FastifyInstance> {
  const migrations = await migrationsOf(itemsMigration)
  const app = await tenantApp(database, { migrations, databasePoolTimeout: 5, closeTimeoutSeconds: 5, ...options })
  app.get('/names', async () => (await db().execute(sql`select name from items order by id`)).rows)
  app.post('/items/:name', async (request) => {
    await add((request.params as { name: string }).name)
    return 'added'
  })
  routes(app)
  await app.ready()
  onTestFinished(() => app.close())
  await app.tenancy.ensure({ identifier: 'acme' })
  await app.tenancy.run('acme', () => db().execute(sql`delete from items`))
  return app
}

/** Calls a route as the tenant `acme`. */
export const call = (app: FastifyInstance, url: string, method: 'GET' | 'POST' | 'HEAD' = 'GET') =>
  app.inject({ url, method, headers: as('acme') })

/** Fulfilled when `condition` holds; fails after `seconds`. */
export async function until(condition: () => boolean | Promise<boolean>, seconds = 10): Promise<void> {
  const deadline = Date.now() + seconds * 1000
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`Not so after ${seconds} s: ${String(condition)}`)
    await sleep(20)
  }
}

/** Fulfilled when every connection of the serving pool is idle and nobody waits for one. */
export async function allIdle(app: FastifyInstance): Promise<void> {
  await until(() => {
    const pool = app.tenancy.getMetrics().pools['serving']
    return pool !== undefined && pool.total === pool.idle && pool.waiting === 0
  })
}

/** One backend of the serving role. */
export interface Backend {
  readonly pid: number
  readonly state: string
  readonly query: string
}

/** What the serving role does on the server now. */
export const backends = (database: TestDatabase): Promise<Backend[]> =>
  asSuperuser(database, async (client) => {
    const { rows } = await client.query<Backend>(
      "select pid, coalesce(state, '') as state, query from pg_stat_activity where datname = current_database() and usename = $1",
      [database.appRole],
    )
    return rows
  })

/** Fulfilled with the backend that runs a statement like this. */
export async function running(database: TestDatabase, part: string): Promise<Backend> {
  let found: Backend | undefined
  await until(async () => {
    found = (await backends(database)).find(({ state, query }) => state === 'active' && query.includes(part))
    return found !== undefined
  })
  return found as Backend
}

/** How many transactions of the serving role are open on the server. */
export const openTransactions = async (database: TestDatabase): Promise<number> =>
  (await backends(database)).filter(({ state }) => state.startsWith('idle in transaction')).length

/** A promise that is settled from outside. */
export function gate(): { readonly passed: Promise<void>; readonly open: () => void } {
  let open = () => {}
  const passed = new Promise<void>((resolve) => (open = resolve))
  return { passed, open }
}
