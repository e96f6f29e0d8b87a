import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { Client, escapeIdentifier } from 'pg'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { checkBaseline } from '../../src/dialects/postgres/baseline.ts'
import { createTestDatabase, type TestDatabase } from '../servers/database.ts'
import { describeWith } from '../servers/suite.ts'

const main = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url))
const names = (database: TestDatabase) =>
  ['--database', database.database, '--serving', database.appRole, '--admin', database.ownerRole] as const

/** Runs the real file in a process of its own. */
function cli(...args: readonly string[]): Promise<{ code: number | null; out: string; err: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ['--import', 'tsx', main, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
    let [out, err] = ['', '']
    child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()))
    child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()))
    child.on('error', reject)
    child.on('close', (code) => resolve({ code, out, err }))
  })
}

test('whoever stops reading hears nothing more', async () => {
  const command = `"$0" --import tsx "$1" roles --database d --serving s --admin a | true`
  const child = spawn('sh', ['-c', command, process.execPath, main], { stdio: ['ignore', 'ignore', 'pipe'] })
  let err = ''
  child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()))
  await new Promise((resolve) => child.on('close', resolve))
  expect(err).toBe('')
})

async function execute(url: string, ...statements: string[]): Promise<void> {
  const client = new Client({ connectionString: url })
  await client.connect()
  try {
    for (const statement of statements) await client.query(statement)
  } finally {
    await client.end()
  }
}

/** What a connection of this URL breaks of the baseline rule. */
async function breaches(url: string, adminRole: string): Promise<readonly string[]> {
  const client = new Client({ connectionString: url })
  await client.connect()
  try {
    const baseline = await checkBaseline(
      async <TRow>(text: string, parameters: readonly unknown[] = []) =>
        (await client.query(text, [...parameters])).rows as TRow[],
      { registrySchema: 'tenancy', extensionsSchema: 'extensions', rlsSchema: 'rls', adminRole },
    )
    return baseline.breaches
  } finally {
    await client.end()
  }
}

test('a wrong use is told on stderr, with exit 2', async () => {
  expect(await cli('rolls')).toMatchObject({ code: 2, out: '', err: expect.stringContaining('"rolls"') as string })
})

describeWith(['postgres15', 'postgres18'], 'fastify-tenancy roles', ({ postgres15, postgres18 }) => {
  describe.each([postgres15, postgres18])('on PostgreSQL $version', ({ url }) => {
    let database: TestDatabase
    let script: string
    beforeAll(async () => {
      database = await createTestDatabase(url)
      const { code, out, err } = await cli('roles', ...names(database))
      expect({ code, err }).toEqual({ code: 0, err: '' })
      script = out
    })
    afterAll(() => database.drop())
    // The script is the cure for everything that a test breaks; what it cannot cure, the test puts right itself.
    beforeEach(() => execute(database.superUrl, script))

    test('a database straight from CREATE DATABASE breaks the rule, the script mends it', async () => {
      const fresh = await createTestDatabase(url)
      try {
        expect(await breaches(fresh.appUrl, fresh.ownerRole)).not.toEqual([])
        const { out } = await cli('roles', ...names(fresh))
        await execute(fresh.superUrl, out)
        expect(await breaches(fresh.appUrl, fresh.ownerRole)).toEqual([])
      } finally {
        await fresh.drop()
      }
    })

    test('running it twice changes nothing', async () => {
      const before = await rights(database)
      await execute(database.superUrl, script, script)
      expect(await rights(database)).toEqual(before)
      expect(await breaches(database.appUrl, database.ownerRole)).toEqual([])
    })

    test('it makes the roles that are not there', async () => {
      const suffix = database.database.slice(-6)
      const [serving, admin] = [`Made "Serving" ${suffix}`, `made'admin\\${suffix}`]
      const named = ['--database', database.database, '--serving', serving, '--admin', admin]
      const { code, out } = await cli('roles', ...named)
      const { out: withRoles } = await cli('roles', ...named, '--tenant-roles')
      const { out: quiet } = await cli('roles', ...named, '--qualified')
      expect(code).toBe(0)
      try {
        await execute(database.superUrl, out, out, withRoles, withRoles, quiet, quiet)
        const address = new URL(database.appUrl)
        address.username = encodeURIComponent(serving)
        expect(await breaches(address.href, admin)).toEqual([])
      } finally {
        const [one, two] = [serving, admin].map((role) => escapeIdentifier(role))
        await execute(database.superUrl, `drop owned by ${one}, ${two}`, `drop role ${one}, ${two}`)
      }
    })

    test('the script refuses another database than the one it was made for', async () => {
      await expect(execute(database.superUrl.replace(database.database, 'postgres'), script)).rejects.toThrow(
        `this script is for the database ${database.database}, you are connected to postgres`,
      )
    })

    test('the admin role can do its work: make a schema, lend it', async () => {
      await execute(database.adminUrl, 'create schema lent', `grant usage on schema lent to ${database.appRole}`)
      await execute(database.adminUrl, 'drop schema lent')
    })

    test.each<[what: string, wrong: (names: TestDatabase) => string, right: (names: TestDatabase) => string]>([
      [
        'is a superuser',
        ({ appRole }) => `alter role ${appRole} superuser`,
        ({ appRole }) => `alter role ${appRole} nosuperuser`,
      ],
      ['has BYPASSRLS', ({ appRole }) => `alter role ${appRole} bypassrls`, noCure],
      [
        'is a member of the admin role',
        ({ appRole, ownerRole }) => `grant ${ownerRole} to ${appRole}`,
        ({ appRole, ownerRole }) => `revoke ${ownerRole} from ${appRole}`,
      ],
      [
        'search_path is not empty',
        ({ appRole, database: name }) => `alter role ${appRole} in database ${name} set search_path to pg_catalog`,
        noCure,
      ],
      ['can use the schema public', ({ appRole }) => `grant usage on schema public to ${appRole}`, noCure],
      [
        'can use the schema of the tenant registry',
        ({ appRole }) => `create schema if not exists tenancy; grant usage on schema tenancy to ${appRole}`,
        () => 'drop schema tenancy',
      ],
      ['can use large objects', () => 'grant execute on function pg_catalog.lo_get(oid) to public', noCure],
      ['can read pg_stats', () => 'grant select on pg_catalog.pg_stats to public', noCure],
      ['can read pg_stat_activity', () => 'grant select on pg_catalog.pg_stat_activity to public', noCure],
      [
        'or call a function behind it',
        () => 'grant execute on function pg_catalog.pg_stat_get_backend_activity(integer) to public',
        noCure,
      ],
      ['has CREATEROLE', ({ appRole }) => `alter role ${appRole} createrole`, noCure],
      [
        'is a member of pg_read_all_data',
        ({ appRole }) => `grant pg_read_all_data to ${appRole}`,
        ({ appRole }) => `revoke pg_read_all_data from ${appRole}`,
      ],
      [
        'can create schemas in the database',
        ({ appRole, database: name }) => `grant create on database ${name} to ${appRole}`,
        noCure,
      ],
      [
        'can create objects in the extensions schema',
        ({ appRole }) => `grant create on schema extensions to ${appRole}`,
        ({ appRole }) => `revoke create on schema extensions from ${appRole}`,
      ],
      [
        'can create temporary tables',
        ({ appRole, database: name }) => `grant temporary on database ${name} to ${appRole}`,
        noCure,
      ],
    ])('a serving role that %s is reported', async (what, wrong, right) => {
      await execute(database.superUrl, wrong(database))
      try {
        expect(await breaches(database.appUrl, database.ownerRole)).toContainEqual(expect.stringContaining(what))
      } finally {
        const cure = right(database)
        await execute(database.superUrl, ...(cure === '' ? [script] : [cure]))
      }
      expect(await breaches(database.appUrl, database.ownerRole)).toEqual([])
    })

    test('one role for both is reported', async () => {
      expect(await breaches(database.appUrl, database.appRole)).toEqual([
        expect.stringContaining('it is the admin role too'),
      ])
    })
  })
})

/** For what the script itself mends. */
function noCure(): string {
  return ''
}

/** Everything the script may change, as the catalogue holds it. */
async function rights({ superUrl, appRole, ownerRole, database }: TestDatabase): Promise<unknown> {
  const client = new Client({ connectionString: superUrl })
  await client.connect()
  try {
    const queries: [text: string, values: unknown[]][] = [
      ['select * from pg_roles where rolname = any($1) order by rolname', [[appRole, ownerRole]]],
      ['select datacl::text from pg_database where datname = $1', [database]],
      ['select nspname, nspowner::regrole::text, nspacl::text from pg_namespace order by nspname', []],
      [
        'select setrole, setconfig from pg_db_role_setting where setdatabase = (select oid from pg_database where datname = $1)',
        [database],
      ],
    ]
    const results = []
    for (const [text, values] of queries) results.push((await client.query(text, values)).rows)
    return results
  } finally {
    await client.end()
  }
}
