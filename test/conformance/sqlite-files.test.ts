import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { createClient } from '@libsql/client'
import { afterEach, describe, expect, it, onTestFinished } from 'vitest'
import type { Scope } from '../../src/contracts/isolation.ts'
import { migrateNamespace } from '../../src/migrations/runner.ts'
import { migrationOf } from '../matrix/suite.ts'
import { open } from '../support/database.ts'
import { codeOf } from '../support/errors.ts'
import {
  newTenant,
  openSqlite,
  ownFile,
  rawClient,
  type RawClient,
  type SqliteServer,
  sqliteScope,
} from '../support/sqlite.ts'

const statements = ['CREATE TABLE `notes` (`id` integer PRIMARY KEY, `text` text)']
const TABLE = '"__tenant__"."notes"'
const insert = (id: number, text = 'x') => ({ sql: `insert into ${TABLE} values (?, ?)`, args: [id, text] })
const textsOf = async (client: RawClient) =>
  (await client.execute(`select text from ${TABLE} order by id`)).rows.map(({ text }) => text)

const opened: SqliteServer[] = []
const start = async (...options: Parameters<typeof openSqlite>) => {
  const files = await openSqlite(...options)
  opened.push(files)
  return files
}
afterEach(async () => {
  for (const files of opened.splice(0).toReversed()) await files.close()
})
const migrate = (files: SqliteServer, scope: Scope, texts = statements) =>
  migrateNamespace({ server: files.server, scope, migrations: [migrationOf(texts)] })

/** How many locks processes have on a file. */
const locksOn = (path: string) =>
  readFileSync('/proc/locks', 'utf8').match(new RegExp(`:${statSync(path).ino} `, 'g'))?.length ?? 0

it('a second server of the process takes no lock of the first', async () => {
  const files = await start()
  await rawClient(files, await newTenant(files, 'prefix', statements)).execute(insert(1))
  const { registry } = files.server
  await registry?.connection.query('create table tenants (id text)')
  const all = [files.mainFile, `${files.mainFile}.registry`]
  expect(all.map((path) => locksOn(path) > 0)).toEqual([true, true])
  await start({}, files)
  expect(all.map((path) => locksOn(path) > 0)).toEqual([true, true])
})

it('a main file that is a link to nothing yet is made where that leads, for its owner alone', async () => {
  const files = await start()
  const [link, made] = ['link.db', 'made.db'].map((name) => join(files.folder, name)) as [string, string]
  symlinkSync(made, link)
  await start({ url: `file:${link}` }, files)
  expect(statSync(made).mode & 0o777).toBe(0o600)
})

describe('[W8] the file of a tenant', () => {
  it('is named after its namespace, in a folder for nothing else, readable by its owner only', async () => {
    const files = await start()
    const scope = await newTenant(files, 'database', statements)
    expect(existsSync(ownFile(files, scope))).toBe(true)
    expect(statSync(ownFile(files, scope)).mode & 0o777).toBe(0o600)
    expect(statSync(dirname(ownFile(files, scope))).mode & 0o777).toBe(0o700)
    expect(readFileSync(ownFile(files, scope)).subarray(18, 20)).toEqual(Buffer.from([2, 2]))
  })

  it.each([['-wal'], ['-wal', '-shm'], ['-journal']])(
    'is made anew where %j of another tenant lie about under its name',
    async (...suffixes) => {
      const files = await start()
      const other = await newTenant(files, 'database', statements)
      for (let id = 1; id <= 50; id++) await rawClient(files, other).execute(insert(id, 'of another'))
      const scope = sqliteScope('database')
      for (const suffix of suffixes) {
        const from = ownFile(files, other) + (suffix === '-journal' ? '' : suffix)
        copyFileSync(from, ownFile(files, scope) + suffix)
      }
      await migrate(files, scope)
      expect(await textsOf(rawClient(files, scope))).toEqual([])
      await rawClient(files, scope).execute(insert(1, 'own'))
      expect(await textsOf(rawClient(files, scope))).toEqual(['own'])
    },
  )

  it.each(['app', '../app', 'app.db', `t${'0'.repeat(24)}/`, `T${'0'.repeat(25)}`, `t${'0'.repeat(25)}\n`, ''])(
    'a namespace %j opens, makes and destroys nothing',
    async (namespace) => {
      const files = await start()
      const scope = { ...sqliteScope('database'), namespace }
      const { server } = files
      expect(() => server.client(scope, open)).toThrow(expect.objectContaining({ code: 'TENANCY_ERR_TENANT_INVALID' }))
      expect(await codeOf(() => migrate(files, scope))).toBe('TENANCY_ERR_TENANT_INVALID')
      expect(await codeOf(() => server.destroy(scope))).toBe('TENANCY_ERR_TENANT_INVALID')
      expect(existsSync(files.mainFile)).toBe(true)
      expect(readdirSync(`${files.mainFile}.tenants`)).toEqual([])
    },
  )

  it('a link is not followed: not to serve, not to provision, not to destroy', async () => {
    const files = await start()
    const victim = await newTenant(files, 'database', statements)
    await rawClient(files, victim).execute(insert(1, 'of the victim'))
    const scope = sqliteScope('database')
    symlinkSync(ownFile(files, victim), ownFile(files, scope))
    expect(await codeOf(() => rawClient(files, scope).execute('select 1'))).toBe('TENANCY_ERR_NAMESPACE_EXISTS')
    expect(await codeOf(() => migrate(files, scope))).toBe('TENANCY_ERR_NAMESPACE_EXISTS')
    expect(await codeOf(() => files.server.destroy(scope))).toBe('TENANCY_ERR_NAMESPACE_EXISTS')
    expect(await textsOf(rawClient(files, victim))).toEqual(['of the victim'])
  })

  it('is not made by a statement, whoever sends it', async () => {
    const files = await start()
    const scope = sqliteScope('database')
    expect(await codeOf(() => rawClient(files, scope).execute('select 1'))).toBe('TENANCY_ERR_DATABASE_UNAVAILABLE')
    expect(await codeOf(() => rawClient(files, scope).transaction())).toBe('TENANCY_ERR_DATABASE_UNAVAILABLE')
    expect(readdirSync(dirname(ownFile(files, scope)))).toEqual([])
  })

  it('of somebody else is neither served nor taken nor destroyed', async () => {
    const files = await start()
    const scope = await newTenant(files, 'database', statements)
    await rawClient(files, scope).execute(insert(1, 'theirs'))
    const thief = { ...sqliteScope('database'), namespace: scope.namespace }
    const attempts = async (on: SqliteServer) => {
      expect(await codeOf(() => rawClient(on, thief).execute('select 1'))).toBe('TENANCY_ERR_NAMESPACE_EXISTS')
      expect(await codeOf(() => rawClient(on, thief).execute(insert(2)))).toBe('TENANCY_ERR_NAMESPACE_EXISTS')
      expect(await codeOf(() => migrate(on, thief))).toBe('TENANCY_ERR_NAMESPACE_EXISTS')
      expect(await codeOf(() => on.server.destroy(thief))).toBe('TENANCY_ERR_NAMESPACE_EXISTS')
    }
    // While it is open, and from another process that has not opened it.
    await attempts(files)
    await attempts(await start({}, files))
    expect(await textsOf(rawClient(files, scope))).toEqual(['theirs'])
  })

  it('that is no database, or another one, is never taken', async () => {
    const files = await start()
    const [text, foreign] = [sqliteScope('database'), sqliteScope('database')]
    writeFileSync(ownFile(files, text), 'somebody wrote this by hand, and it is long enough to be a header'.repeat(10))
    const client = createClient({ url: `file:${ownFile(files, foreign)}` })
    await client.execute('create table precious (id int)')
    client.close()
    expect(await codeOf(() => migrate(files, text))).toBe('TENANCY_ERR_DATABASE_UNAVAILABLE')
    for (const attempt of [migrate(files, foreign), files.server.destroy(foreign)]) {
      expect(await codeOf(() => attempt)).toBe('TENANCY_ERR_NAMESPACE_EXISTS')
    }
    expect(existsSync(ownFile(files, text))).toBe(true)
    expect(existsSync(ownFile(files, foreign))).toBe(true)
  })
})

describe('provisioning', () => {
  it('leaves nothing when a migration fails', async () => {
    const files = await start()
    const scope = sqliteScope('database')
    const failing = migrate(files, scope, [...statements, 'CREATE TABLE `notes` (`id` integer)'])
    expect(await codeOf(() => failing)).toBe('TENANCY_ERR_MIGRATION_FAILED')
    expect(readdirSync(dirname(ownFile(files, scope)))).toEqual([])
    await migrate(files, scope)
    await rawClient(files, scope).execute(insert(1))
  })

  it('keeps a file that was there before, as it was', async () => {
    const files = await start()
    const scope = await newTenant(files, 'database', statements)
    await rawClient(files, scope).execute(insert(1, 'kept'))
    const wrong = ['CREATE TABLE `more` (`id` integer)', 'CREATE nonsense']
    const later = { ...migrationOf(wrong), name: 'later', hash: 'later' }
    const failing = migrateNamespace({
      server: files.server,
      scope,
      migrations: [migrationOf(statements), later],
    })
    expect(await codeOf(() => failing)).toBe('TENANCY_ERR_MIGRATION_FAILED')
    expect(await textsOf(rawClient(files, scope))).toEqual(['kept'])
    await expect(rawClient(files, scope).execute('select * from more')).rejects.toThrow('no such table')
  })

  it.each(['database', 'prefix'] as const)(
    'of one tenant six times at once, in two processes, is done once (%s)',
    async (strategy) => {
      const one = await start()
      const two = await start({}, one)
      const scope = sqliteScope(strategy)
      const reports = await Promise.all([one, two, one, two, one, two].map((files) => migrate(files, scope)))
      expect(reports.filter(({ created }) => created)).toHaveLength(1)
      expect(reports.filter(({ applied }) => applied.length > 0)).toHaveLength(1)
      await rawClient(one, scope).execute(insert(1, 'seen by both'))
      expect(await textsOf(rawClient(two, scope))).toEqual(['seen by both'])
    },
  )

  it('by one process that fails, while another waits for it, does not make that one believe in a file that is gone', async () => {
    const one = await start()
    const two = await start({}, one)
    const scope = sqliteScope('database')
    let fail = () => {}
    const failing = one.server.inNamespace(scope, async (session) => {
      await session.ensure()
      await new Promise<void>((_, reject) => (fail = () => reject(new Error('undo'))))
    })
    await sleep(30)
    const waiting = migrate(two, scope)
    await sleep(30)
    fail()
    await expect(failing).rejects.toThrow('undo')
    expect(await codeOf(() => waiting)).toBe('TENANCY_ERR_DATABASE_UNAVAILABLE')
    await migrate(two, scope)
    await rawClient(one, scope).execute(insert(1))
  })

  it('that fails removes the file that it made, and not the one that another process made in its place', async () => {
    const files = await start()
    const scope = sqliteScope('database')
    const path = ownFile(files, scope)
    const failing = files.server.inNamespace(scope, async (session) => {
      await session.ensure()
      renameSync(path, `${path}.moved`)
      for (const suffix of ['', '-wal']) writeFileSync(path + suffix, 'of another process')
      throw new Error('undo')
    })
    await expect(failing).rejects.toThrow('undo')
    for (const suffix of ['', '-wal']) expect(readFileSync(path + suffix, 'utf8')).toBe('of another process')
  })

  it('goes on after a crash that left an empty file', async () => {
    const files = await start()
    const scope = sqliteScope('database')
    writeFileSync(ownFile(files, scope), '')
    expect(await migrate(files, scope)).toMatchObject({ created: true })
    // With a write-ahead log, like any other.
    expect(readFileSync(ownFile(files, scope)).subarray(18, 20)).toEqual(Buffer.from([2, 2]))
  })

  it('that fails leaves what another process put into its file before it had the lock', async () => {
    const files = await start()
    const scope = sqliteScope('database')
    const path = ownFile(files, scope)
    const failing = codeOf(() => migrate(files, scope))
    for (let turn = 0; turn < 1000 && !existsSync(path); turn++) await Promise.resolve()
    expect(statSync(path).size).toBe(0)
    const other = createClient({ url: `file:${path}` })
    await other.execute('create table theirs as select 1 as row')
    other.close()
    expect(await failing).toBe('TENANCY_ERR_NAMESPACE_EXISTS')
    expect(existsSync(path)).toBe(true)
  })

  it('a folder in the way is told as what it is', async () => {
    const files = await start()
    const scope = sqliteScope('database')
    mkdirSync(ownFile(files, scope))
    expect(await codeOf(() => migrate(files, scope))).toBe('TENANCY_ERR_NAMESPACE_EXISTS')
  })
})

describe.each(['database', 'prefix'] as const)('migrations of %s', (strategy) => {
  const first = [
    'CREATE TABLE `parents` (`id` integer PRIMARY KEY, `name` text NOT NULL)',
    'CREATE TABLE `children` (`id` integer PRIMARY KEY, `parent_id` integer NOT NULL, FOREIGN KEY (`parent_id`) REFERENCES `parents`(`id`) ON DELETE cascade)',
  ]
  const rebuild = {
    ...migrationOf([
      'PRAGMA foreign_keys=OFF;',
      'CREATE TABLE `__new_parents` (`id` integer PRIMARY KEY, `name` text NOT NULL, `age` integer DEFAULT 1 NOT NULL);',
      'INSERT INTO `__new_parents`("id", "name") SELECT "id", "name" FROM `parents`;',
      'DROP TABLE `parents`;',
      'ALTER TABLE `__new_parents` RENAME TO `parents`;',
      'PRAGMA foreign_keys=ON;',
    ]),
    name: '0001_age',
    hash: 'rebuild',
  }
  const provision = async (files: SqliteServer) => {
    const scope = await newTenant(files, strategy, first)
    const client = rawClient(files, scope)
    await client.execute(`insert into "__tenant__"."parents" values (1, 'one')`)
    await client.execute('insert into "__tenant__"."children" values (1, 1)')
    return { scope, client }
  }

  it('a rebuilt table keeps the rows that refer to it, cascades or not', async () => {
    const files = await start()
    const { scope, client } = await provision(files)
    const other = await provision(files)
    await migrateNamespace({ server: files.server, scope, migrations: [migrationOf(first), rebuild] })
    expect((await client.execute('select * from "__tenant__"."children"')).rows).toMatchObject([
      { id: 1, parent_id: 1 },
    ])
    expect((await client.execute('select * from "__tenant__"."parents"')).rows).toMatchObject([{ name: 'one', age: 1 }])
    await expect(client.execute('insert into "__tenant__"."children" values (2, 9)')).rejects.toThrow('FOREIGN KEY')
    await client.execute('delete from "__tenant__"."parents"')
    expect((await client.execute('select * from "__tenant__"."children"')).rows).toEqual([])
    expect((await other.client.execute('select * from "__tenant__"."parents"')).rows).toMatchObject([{ name: 'one' }])
    await expect(other.client.execute('select age from "__tenant__"."parents"')).rejects.toThrow('no such column')
  })

  it('a migration that leaves rows without their parent is undone', async () => {
    const files = await start()
    const { scope, client } = await provision(files)
    const wrong = { ...migrationOf(['DELETE FROM `parents`']), name: '0001_wrong', hash: 'wrong' }
    const failing = migrateNamespace({ server: files.server, scope, migrations: [migrationOf(first), wrong] })
    expect(await codeOf(() => failing)).toBe('TENANCY_ERR_MIGRATION_FAILED')
    expect((await client.execute('select * from "__tenant__"."parents"')).rows).toHaveLength(1)
  })

  it('a namespace with a ledger of somebody else, or with objects and none, is never taken', async () => {
    const files = await start()
    const scope = await newTenant(files, strategy, statements)
    const thief = { ...sqliteScope(strategy), namespace: scope.namespace }
    expect(await codeOf(() => migrate(files, thief))).toBe('TENANCY_ERR_NAMESPACE_EXISTS')
    expect(await codeOf(() => files.server.destroy(thief))).toBe('TENANCY_ERR_NAMESPACE_EXISTS')
    if (strategy === 'database') return
    const fresh = sqliteScope(strategy)
    await files.server.admin.query(`create table "${fresh.namespace}__mine" (id int)`)
    expect(await codeOf(() => migrate(files, fresh))).toBe('TENANCY_ERR_NAMESPACE_EXISTS')
    expect(await codeOf(() => files.server.destroy(fresh))).toBe('TENANCY_ERR_NAMESPACE_EXISTS')
  })
})

describe('destroy', () => {
  it('[W49] removes exactly the file and what is beside it, with its handles, from whatever folder', async () => {
    const files = await start()
    const scope = await newTenant(files, 'database', statements)
    const other = await newTenant(files, 'database', statements)
    for (const one of [scope, other]) await rawClient(files, one).execute(insert(1))
    const before = process.cwd()
    process.chdir('/')
    try {
      expect(await files.server.destroy(scope)).toEqual({ objects: 3, rows: 0 })
    } finally {
      process.chdir(before)
    }
    const left = readdirSync(dirname(ownFile(files, scope)))
    expect(left.filter((name) => !name.startsWith(other.namespace))).toEqual([])
    expect(await codeOf(() => rawClient(files, scope).execute('select 1'))).toBe('TENANCY_ERR_DATABASE_UNAVAILABLE')
    expect(await files.server.destroy(scope)).toEqual({ objects: 0, rows: 0 })
    expect(await textsOf(rawClient(files, other))).toEqual(['x'])
  })

  it('waits for an open transaction, and what waited behind it does not bring the file back', async () => {
    const files = await start()
    const scope = await newTenant(files, 'database', statements)
    const client = rawClient(files, scope)
    const transaction = await client.transaction()
    await transaction.execute(insert(1))
    const destroyed = files.server.destroy(scope)
    const late = codeOf(() => client.execute(insert(2)))
    await transaction.commit()
    expect(await destroyed).toEqual({ objects: 3, rows: 0 })
    expect(await late).toBe('TENANCY_ERR_DATABASE_UNAVAILABLE')
    expect(existsSync(ownFile(files, scope))).toBe(false)
  })

  it('[W7] under a prefix it removes exactly the names of that tenant', async () => {
    const files = await start()
    const texts = [
      ...statements,
      'CREATE INDEX `notes_text` ON `notes` (`text`)',
      'CREATE VIEW `texts` AS SELECT "text" FROM `notes`',
      'CREATE TABLE `counted` (`id` integer PRIMARY KEY AUTOINCREMENT)',
    ]
    const scope = await newTenant(files, 'prefix', texts)
    const other = await newTenant(files, 'prefix', texts)
    const { admin } = files.server
    // `_` is any character to LIKE: these are nobody's.
    const near = [`${scope.namespace}xxnotes`, `${scope.namespace}_notes`, 'plain']
    for (const name of near) await admin.query(`create table "${name}" (id int)`)
    expect(await files.server.destroy(scope)).toEqual({ objects: 5, rows: 0 })
    const names = await admin.query<{ name: string }>('select name from sqlite_schema')
    expect(names.filter(({ name }) => name.startsWith(`${scope.namespace}__`))).toEqual([])
    expect(names.filter(({ name }) => name.startsWith(`${other.namespace}__`))).toHaveLength(5)
    expect(names.map(({ name }) => name)).toEqual(expect.arrayContaining(near))
    expect(await files.server.destroy(scope)).toEqual({ objects: 0, rows: 0 })
    await rawClient(files, other).execute(insert(1))
  })
})

describe('open files', () => {
  it('300 tenants in turn, and all at once, never have more open than the budget', async () => {
    const files = await start({ maxOpenFiles: 5, poolTimeout: 100 })
    const scopes: Scope[] = []
    const look = () => expect(files.server.stats()['tenants']?.total).toBeLessThanOrEqual(5)
    for (let i = 0; i < 300; i++) {
      const scope = await newTenant(files, 'database', statements)
      scopes.push(scope)
      await rawClient(files, scope).execute(insert(1, `of ${i}`))
      look()
    }
    await Promise.all(
      scopes.map(async (scope, i) => {
        expect(await textsOf(rawClient(files, scope))).toEqual([`of ${i}`])
        const transaction = await rawClient(files, scope).transaction()
        look()
        await transaction.execute(insert(2, `of ${i}`))
        await new Promise(setImmediate)
        await transaction.commit()
      }),
    )
    expect(files.server.stats()['tenants']).toEqual({ total: 5, idle: 5, waiting: 0 })
    // libsql closes a connection when its statements are collected.
    collectGarbage()
    await sleep(50)
    expect(openTenantFiles().size).toBeLessThanOrEqual(5)
  }, 120_000)

  it('one in use is never closed; who finds no room waits, and not for ever', async () => {
    const files = await start({ maxOpenFiles: 1, poolTimeout: 0.3 })
    const [a, b] = [await newTenant(files, 'database', statements), await newTenant(files, 'database', statements)]
    const transaction = await rawClient(files, a).transaction()
    await transaction.execute(insert(1, 'of a'))
    expect(await codeOf(() => rawClient(files, b).execute('select 1'))).toBe('TENANCY_ERR_POOL_TIMEOUT')
    const waiting = textsOf(rawClient(files, b))
    await transaction.execute(insert(2, 'of a'))
    await transaction.commit()
    expect(await waiting).toEqual([])
    expect(await textsOf(rawClient(files, a))).toEqual(['of a', 'of a'])
  })

  it('a tenant that is no longer served is closed: now, or when it is no longer in use', async () => {
    const files = await start()
    const [a, b] = [await newTenant(files, 'database', statements), await newTenant(files, 'database', statements)]
    const transaction = await rawClient(files, b).transaction()
    const total = () => files.server.stats()['tenants']?.total
    expect(total()).toBe(2)
    files.server.forget?.(a)
    expect(total()).toBe(1)
    files.server.forget?.(b)
    expect(total()).toBe(1)
    await transaction.execute(insert(1))
    await transaction.commit()
    expect(total()).toBe(0)
    expect(await textsOf(rawClient(files, b))).toEqual(['x'])
  })

  it('close waits for what is under way, refuses what comes, and leaves nothing in the log', async () => {
    const files = await start()
    const scope = await newTenant(files, 'database', statements)
    const transaction = await rawClient(files, scope).transaction()
    const closing = files.server.close()
    expect(await codeOf(() => rawClientOrError(files, scope))).toBe('TENANCY_ERR_CLOSED')
    await transaction.execute(insert(1))
    await transaction.commit()
    await closing
    await files.server.close()
    // All of it is in the file itself: a copy of that one file is complete.
    const sizeOf = (suffix: string) => statSync(ownFile(files, scope) + suffix, { throwIfNoEntry: false })?.size ?? 0
    expect(sizeOf('-wal')).toBe(0)
    const again = await start({}, files)
    expect(await textsOf(rawClient(again, scope))).toEqual(['x'])
  })

  it('close does not wait for ever', async () => {
    const files = await start({ closeTimeout: 0.1 })
    const [own, prefixed] = [
      await newTenant(files, 'database', statements),
      await newTenant(files, 'prefix', statements),
    ]
    const transactions = [await rawClient(files, own).transaction(), await rawClient(files, prefixed).transaction()]
    for (const transaction of transactions) await transaction.execute(insert(1))
    await files.server.close()
    for (const transaction of transactions) {
      await expect(transaction.commit()).rejects.toThrow()
      await transaction.rollback()
    }
    const again = await start({}, files)
    for (const scope of [own, prefixed]) expect(await textsOf(rawClient(again, scope))).toEqual([])
  })
})

it('two processes write to the same files without losing anything', async () => {
  const one = await start()
  const two = await start({}, one)
  for (const strategy of ['database', 'prefix'] as const) {
    const scope = await newTenant(one, strategy, statements)
    const work = Array.from({ length: 60 }, async (_, i) => {
      const client = rawClient(i % 2 === 0 ? one : two, scope)
      if (i % 3 > 0) return client.execute(insert(i + 1))
      const transaction = await client.transaction()
      await transaction.execute(insert(i + 1))
      await new Promise(setImmediate)
      return transaction.commit()
    })
    await Promise.all(work)
    expect(await textsOf(rawClient(two, scope))).toHaveLength(60)
  }
})

it('a file that another process has for itself alone at the first statement is waited for', async () => {
  const one = await start()
  const scope = await newTenant(one, 'database', statements)
  await one.server.close()
  // libsql closes a file when nobody has anything of it any more.
  collectGarbage()
  const script = `import { createClient } from '@libsql/client'
    const client = createClient({ url: ${JSON.stringify(`file:${ownFile(one, scope)}`)} })
    await client.execute('pragma locking_mode = exclusive')
    await client.execute('select count(*) from sqlite_master')
    process.stdout.write('alone')
    process.stdin.resume().on('end', () => process.exit())`
  const alone = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['pipe', 'pipe', 'inherit'] })
  onTestFinished(() => void alone.kill())
  await once(alone.stdout, 'data')
  const two = await start({ poolTimeout: 1 }, one)
  expect(await codeOf(() => textsOf(rawClient(two, scope)))).toBe('TENANCY_ERR_POOL_TIMEOUT')
  const waiting = textsOf(rawClient(two, scope))
  await sleep(100)
  alone.stdin.end()
  expect(await waiting).toEqual([])
})

it('a server that cannot open its file says so, and can be tried again', async () => {
  const files = await start()
  const path = join(files.folder, 'folder.db')
  mkdirSync(path)
  expect(await codeOf(() => openSqlite({ url: `file:${path}` }, files))).toBe('TENANCY_ERR_DATABASE_UNAVAILABLE')
  await files.server.ping()
  expect(await files.server.open()).toEqual([])
  expect(files.server.stats()).toMatchObject({ main: { total: 1, idle: 1, waiting: 0 } })
})

/** The tenant files of which this process has descriptors. */
function openTenantFiles(): Set<string> {
  const names = readdirSync('/proc/self/fd').map((fd) => {
    try {
      return /t[0-9a-z]{25}(?=\.db$)/.exec(readlinkSync(`/proc/self/fd/${fd}`))?.[0]
    } catch {
      return undefined
    }
  })
  return new Set(names.filter((name) => name !== undefined))
}

function collectGarbage(): void {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  collect()
}

async function rawClientOrError(files: SqliteServer, scope: Scope): Promise<unknown> {
  return rawClient(files, scope).execute('select 1')
}
