import { sql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/pglite'
import Fastify, { type FastifyInstance } from 'fastify'
import { expect, it, onTestFinished } from 'vitest'
import tenancy, { getTenantDb, type TenancyOptions } from '../../src/index.ts'
import { createTestDatabase } from '../servers/database.ts'
import { describeWith } from '../servers/suite.ts'
import { optionsFor, type PlainDb } from '../support/app.ts'
import { asSuperuser, runRolesScript } from '../support/database.ts'
import { postgresNotes } from '../support/notes.ts'

const EXTENSIONS = 'add_ons'
const FUNCTIONS = `
  create function ${EXTENSIONS}.where_am_i() returns text language sql as 'select ''mine''';
  grant execute on function ${EXTENSIONS}.where_am_i() to public`

/** An app with the tenant `acme`; the log has what it warned of. */
async function started(options: TenancyOptions): Promise<{ app: FastifyInstance; warnings: string[] }> {
  const warnings: string[] = []
  const stream = { write: (line: string) => void warnings.push((JSON.parse(line) as { msg: string }).msg) }
  const app = Fastify({ logger: { level: 'warn', stream } }) as unknown as FastifyInstance
  onTestFinished(() => app.close())
  await app.register(tenancy, {
    authorize: () => true,
    extensionsSchema: EXTENSIONS,
    schema: { notes: postgresNotes() },
    ...options,
  })
  await app.ready()
  await app.tenancy.register({ identifier: 'acme' })
  return { app, warnings }
}

/** What a tenant gets by a name that is in the schema of extensions only. */
const found = (app: FastifyInstance) =>
  app.tenancy.run('acme', async () => {
    const { rows } = await (getTenantDb() as PlainDb).execute(sql`select where_am_i() as found`)
    return rows[0]?.['found']
  })

const strategies = ['schema', 'rls', 'prefix'] as const

describeWith(['postgres15', 'postgres18'], '`extensionsSchema`', (servers) => {
  const cells = strategies.flatMap((isolationStrategy) => [
    { isolationStrategy, tenantRoles: false, version: 15 as const },
    { isolationStrategy, tenantRoles: isolationStrategy === 'schema', version: 18 as const },
  ])
  it.each(cells)(
    'of another name is the one on every tenant’s path: $isolationStrategy on PostgreSQL $version',
    async ({ isolationStrategy, tenantRoles, version }) => {
      const database = await createTestDatabase(servers[`postgres${version}`].url)
      onTestFinished(() => database.drop())
      await runRolesScript(database, { extensionsSchema: EXTENSIONS, tenantRoles })
      await asSuperuser(database, (client) => client.query(FUNCTIONS))
      const { app, warnings } = await started(optionsFor(database, { isolationStrategy, tenantRoles }))
      expect(warnings).toEqual([expect.stringContaining('There are no `migrations`')])
      expect(await found(app)).toBe('mine')
      expect(await app.tenancy.verify('acme')).toMatchObject({ ok: true })
      expect((await app.tenancy.doctor()).findings.filter(({ severity }) => severity !== 'info')).toEqual([])
    },
  )
})

it('`extensionsSchema` of another name is made on PGlite', async () => {
  const { app } = await started({
    databaseUrl: 'pglite:memory',
    drizzle: (client) => drizzle({ client: client as never }),
  })
  const admin = (await app.tenancy.adminDb()) as unknown as PlainDb
  for (const statement of FUNCTIONS.split(';')) await admin.execute(sql.raw(statement))
  expect(await found(app)).toBe('mine')
})
