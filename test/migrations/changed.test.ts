import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import type { DatabaseServer } from '../../src/contracts/dialect.ts'
import type { Scope } from '../../src/contracts/isolation.ts'
import type { Migration } from '../../src/contracts/migrator.ts'
import { createPgliteServer } from '../../src/dialects/postgres/drivers/pglite-server.ts'
import { namespaceStrategy } from '../../src/isolation/namespace.ts'
import { readMigrations } from '../../src/migrations/reader.ts'
import { migrateNamespace } from '../../src/migrations/runner.ts'
import { describeWith } from '../servers/suite.ts'
import { baselineDatabase, open, placedScope, sharedSchemas, testServer } from '../support/database.ts'
import { asRoot, type MysqlDatabase, mysqlDatabase, mysqlServer } from '../support/mysql.ts'
import { openSqlite } from '../support/sqlite.ts'

/** A server, opened. */
interface Opened {
  readonly server: DatabaseServer
  /** The table `tally`, as its clients are sent it. */
  readonly tally: string
  close(): Promise<unknown>
}

type Send = (text: string) => Promise<unknown>

/** How folders of each drizzle-kit name one migration, made at second `at` of 2026. */
const kits = {
  'kit 0.31': (name: string, at: number) => ({
    file: `${name}.sql`,
    when: Date.UTC(2026, 0, 1, 0, 0, at, 7),
    tag: name,
  }),
  'kit 1.0': (name: string, at: number) => ({ file: `202601010000${10 + at}_${name}/migration.sql` }),
}
type Kit = keyof typeof kits
type Folder = readonly (readonly [name: string, at: number, text: string])[]

/** Reads a folder that holds these migrations. */
async function read(kit: Kit, migrations: Folder): Promise<readonly Migration[]> {
  const folder = await mkdtemp(join(tmpdir(), 'tenancy-changed-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  const entries = []
  for (const [name, at, text] of migrations) {
    const { file, ...entry } = kits[kit](name, kit === 'kit 0.31' ? at + 10 : at)
    await mkdir(dirname(join(folder, file)), { recursive: true })
    await writeFile(join(folder, file), text)
    entries.push(entry)
  }
  if (kit === 'kit 0.31') {
    await mkdir(join(folder, 'meta'))
    await writeFile(join(folder, 'meta/_journal.json'), JSON.stringify({ entries }))
  }
  return readMigrations(folder)
}

const sha256 = (text: string) => createHash('sha256').update(text).digest('hex')
const CHANGED = 'TENANCY_ERR_MIGRATION_CHANGED'
const LF = 'create table tally (n int);\n--> statement-breakpoint\ninsert into tally (n) values (1);\n'
const CRLF = LF.replaceAll('\n', '\r\n')
const CR = LF.replaceAll('\n', '\r')

function suite(strategy: 'schema' | 'database' | 'prefix', openServer: () => Promise<Opened>) {
  let opened: Opened
  let scope: Scope
  beforeAll(async () => {
    opened = await openServer()
  })
  afterAll(() => opened?.close())
  beforeEach(() => {
    scope = placedScope(namespaceStrategy(strategy))
  })

  const migrate = (migrations: readonly Migration[]) => migrateNamespace({ server: opened.server, scope, migrations })
  /** What is in the table that the migration fills: one row for each time it ran. */
  const tally = async () => {
    const client = opened.server.client(scope, open) as { query?: Send; execute?: Send }
    const text = `select count(*) as n from ${opened.tally}`
    const answer = await (client.query?.(text) ?? client.execute?.(text))
    const rows = Array.isArray(answer) ? answer[0] : (answer as { rows: unknown }).rows
    return Number((rows as { n: unknown }[])[0]?.n)
  }
  const nothing = { created: false, applied: [], skipped: 1 }

  describe.each(['kit 0.31', 'kit 1.0'] as const)('%s', (kit) => {
    it('never runs again what was changed after it was applied, nor anything beside it', async () => {
      await migrate(await read(kit, [['one', 0, LF]]))
      const edited: Folder = [
        ['before', 0, 'create table before_it (n int)'],
        ['one', 0, `-- counts\n${LF.replace('create table', 'create table if not exists')}`],
        ['two', 1, 'create table two (n int)'],
      ]
      await expect(migrate(await read(kit, edited))).rejects.toMatchObject({
        code: CHANGED,
        message: expect.stringMatching(
          /^Migration .*one.* was changed after it was applied\. Nothing ran\. Put it back/,
        ),
      })
      expect(await tally()).toBe(1)
      expect(await migrate(await read(kit, [['one', 0, LF]]))).toEqual(nothing)
      const later = await migrate(await read(kit, [...edited.filter(([name]) => name !== 'one'), ['one', 0, LF]]))
      expect(later.applied).toHaveLength(2)
      expect(await tally()).toBe(1)
    })

    it.each([
      [LF, CRLF],
      [CRLF, LF],
      [LF, CR],
      [CR, CRLF],
    ])('takes %j and %j for one text', async (before, after) => {
      await migrate(await read(kit, [['one', 0, before]]))
      expect(await migrate(await read(kit, [['one', 0, after]]))).toEqual(nothing)
      expect(await tally()).toBe(1)
    })

    it.each([LF, CRLF])('knows the hash that was once written of a file with CRLF, of %j', async (now) => {
      const [one] = await read(kit, [['one', 0, CRLF]])
      if (one === undefined) expect.fail()
      await migrate([{ ...one, hash: sha256(CRLF), otherHashes: [] }])
      expect(await migrate(await read(kit, [['one', 0, now]]))).toEqual(nothing)
      expect(await tally()).toBe(1)
    })
  })

  it('knows a migration that `drizzle-kit up` gave another name, changed or not', async () => {
    await migrate(await read('kit 0.31', [['0000_one', 0, LF]]))
    expect(await migrate(await read('kit 1.0', [['one', 0, LF]]))).toEqual(nothing)
    await expect(migrate(await read('kit 1.0', [['one', 0, `-- counts\n${LF}`]]))).rejects.toMatchObject({
      code: CHANGED,
    })
    expect(await tally()).toBe(1)
  })

  it('takes another migration of the same second for what it is', async () => {
    await migrate(await read('kit 1.0', [['one', 0, LF]]))
    const both: Folder = [
      ['one', 0, LF],
      ['other', 0, 'create table other (n int)'],
    ]
    expect(await migrate(await read('kit 1.0', both))).toMatchObject({ applied: ['20260101000010_other'], skipped: 1 })
  })
}

for (const version of ['postgres15', 'postgres18'] as const) {
  describeWith([version], `changed migrations on ${version}`, (servers) => {
    suite('schema', async () => {
      const database = await baselineDatabase(servers[version].url)
      const server = testServer(database)
      await server.open()
      return { server, tally: 'tally', close: () => server.close().then(database.drop) }
    })
  })
}

describe('changed migrations on PGlite', () => {
  suite('schema', async () => {
    const server = createPgliteServer({
      folder: undefined,
      registrySchema: 'tenancy',
      shared: sharedSchemas,
      poolTimeout: 30,
      onStatement: undefined,
    })
    await server.open()
    return { server, tally: 'tally', close: () => server.close() }
  })
})

describe.each(['database', 'prefix'] as const)('changed migrations on SQLite under %s', (strategy) => {
  suite(strategy, async () => {
    const { server, close } = await openSqlite()
    return { server, tally: '"__tenant__"."tally"', close }
  })
})

describeWith(['mariadb'], 'changed migrations on MariaDB', ({ mariadb }) => {
  let database: MysqlDatabase
  let server: DatabaseServer
  beforeAll(async () => {
    database = await mysqlDatabase(mariadb.url)
    server = mysqlServer(database)
    await server.open()
  })
  afterAll(async () => {
    await server?.close()
    await database?.drop()
  })
  suite('schema', async () => {
    const other = mysqlServer(database)
    await other.open()
    return { server: other, tally: '`__tenant__`.`tally`', close: () => other.close() }
  })

  describe.each(['schema', 'prefix'] as const)('left half done under %s', (strategy) => {
    const first = 'create table one (n int)'
    const second = 'alter table one add m int'
    const wrong = 'alter table nowhere add m int'
    const fine = 'create table two (n int)'
    const of = (...statements: string[]): Folder => [
      ['zero', 0, 'create table zero (n int)'],
      ['half', 1, statements.join('\n--> statement-breakpoint\n')],
    ]
    const [zero] = of()
    let scope: Scope
    const migrate = async (folder: Folder, kit: Kit = 'kit 1.0') =>
      migrateNamespace({ server, scope, migrations: await read(kit, folder) })
    const failed = { code: 'TENANCY_ERR_MIGRATION_FAILED' }
    const rows = () =>
      asRoot<Record<string, unknown>>(database.superUrl, [
        `select statements, statements_hash from ${ledger()} order by id`,
      ])
    const ledger = () =>
      strategy === 'schema'
        ? `${scope.namespace}.__drizzle_migrations`
        : `${database.database}.${scope.namespace}____drizzle_migrations`
    beforeEach(async () => {
      scope = placedScope(namespaceStrategy(strategy))
      await migrate(zero === undefined ? [] : [zero])
    })

    it.each(['kit 0.31', 'kit 1.0'] as const)('goes on after what ran, once what failed is mended: %s', async (kit) => {
      scope = placedScope(namespaceStrategy(strategy))
      await migrate(zero === undefined ? [] : [zero], kit)
      await expect(migrate(of(first, second, wrong, fine), kit)).rejects.toMatchObject(failed)
      // The mended one may fail too, and be mended again.
      await expect(migrate(of(first, second, fine, wrong), kit)).rejects.toMatchObject(failed)
      const mended = of(`${first}\r`, second, fine)
      expect((await migrate(mended, kit)).applied).toEqual([expect.stringContaining('half')])
      expect(await migrate(mended, kit)).toMatchObject({ applied: [], skipped: 2 })
      const complete = { statements: null, statements_hash: null }
      expect(await rows()).toEqual([complete, complete])
      await expect(migrate(of(first, second, fine, 'create table three (n int)'), kit)).rejects.toMatchObject({
        code: CHANGED,
      })
    })

    it('has changed rows and knows it, or neither, when its connection dies in between', async () => {
      const die = async () => {
        const admins = `select id from information_schema.processlist where user = '${database.adminUser}'`
        const found = await asRoot<{ id: number }>(database.superUrl, [admins])
        await asRoot(
          database.superUrl,
          found.map(({ id }) => `kill ${id}`),
        )
      }
      const dying: Pick<DatabaseServer, 'inNamespace' | 'parseDdl'> = {
        parseDdl: server.parseDdl,
        inNamespace: (placed, work) =>
          server.inNamespace(placed, (session) => {
            const record: typeof session.record = async (migration, progress) => {
              if (progress?.statements === 2) await die()
              return session.record(migration, progress)
            }
            return work({ ...session, record })
          }),
      }
      const migrations = await read('kit 1.0', of(first, 'insert into one (n) values (1)', fine))
      await expect(migrateNamespace({ server: dying, scope, migrations })).rejects.toMatchObject({
        code: 'TENANCY_ERR_DATABASE_UNAVAILABLE',
      })
      await migrateNamespace({ server, scope, migrations })
      const one = ledger().replace('__drizzle_migrations', 'one')
      expect(await asRoot(database.superUrl, [`select n from ${one}`])).toEqual([{ n: 1 }])
    })

    it('runs nothing when what ran was changed, and goes on when it is put back', async () => {
      await expect(migrate(of(first, second, wrong))).rejects.toMatchObject(failed)
      for (const changed of [
        of(first, `${second}, add k int`, fine),
        of(second, first, fine),
        of(first),
        of(fine, first, second),
      ]) {
        await expect(migrate(changed)).rejects.toMatchObject({
          code: CHANGED,
          message: expect.stringMatching(/half.* after its first 2 statements ran, .*Put these back/),
        })
      }
      expect(await migrate(of(first, second))).toMatchObject({ skipped: 1 })
    })

    it('goes on where an earlier version counted, and says how to mend what that left', async () => {
      await expect(migrate(of(first, second, wrong))).rejects.toMatchObject(failed)
      await asRoot(database.superUrl, [`alter table ${ledger()} drop column statements_hash`])
      await expect(migrate(of(first, second, fine))).rejects.toMatchObject({
        code: CHANGED,
        message: expect.stringContaining('run it once more'),
      })
      await expect(migrate(of(first, second, wrong))).rejects.toMatchObject(failed)
      expect(await migrate(of(first, second, fine))).toMatchObject({ applied: [expect.stringContaining('half')] })
    })
  })
})
