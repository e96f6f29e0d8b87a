import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { readMigrationFiles as readByDrizzle } from 'drizzle-orm/migrator'
import { readMigrationFiles as readByDrizzleV1 } from 'drizzle-orm-v1/migrator'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { readMigrations } from '../../src/migrations/reader.ts'

const fixtures = fileURLToPath(new URL('../fixtures/migrations', import.meta.url))

let folder: string

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'migrations-'))
})

afterEach(async () => {
  await rm(folder, { recursive: true })
})

async function write(files: Readonly<Record<string, string>>) {
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(folder, path)), { recursive: true })
    await writeFile(join(folder, path), text)
  }
}

const journal = (...tags: readonly string[]) => ({
  'meta/_journal.json': JSON.stringify({ version: '7', entries: tags.map((tag, idx) => ({ idx, when: idx, tag })) }),
})

const refused = (reason: string) =>
  expect.objectContaining({
    code: 'TENANCY_ERR_MIGRATIONS_FOLDER',
    message: expect.stringMatching(new RegExp(`${folder}.*${reason}`, 's')),
  })

describe.each([
  ['kit-0.31', readByDrizzle],
  ['kit-1.0', readByDrizzleV1],
] as const)('%s', (kit, reference) => {
  const path = join(fixtures, kit)

  test("gives Drizzle's own hashes, times, order and statements", async () => {
    const migrations = await readMigrations(path)
    const expected = reference({ migrationsFolder: path })
    expect(migrations.map(({ hash, createdAt, statements }) => ({ hash, createdAt, statements }))).toEqual(
      expected.map(({ hash, folderMillis, sql }) => ({ hash, createdAt: folderMillis, statements: sql })),
    )
    expect(migrations).toHaveLength(2)
  })

  test('is deep-frozen and names its files', async () => {
    const migrations = await readMigrations(path)
    expect(Object.isFrozen(migrations)).toBe(true)
    for (const { file, name, statements, ...rest } of migrations) {
      expect(Object.isFrozen(statements)).toBe(true)
      expect(file.startsWith(path)).toBe(true)
      expect(file).toContain(name)
      expect(rest.createdAt).toBeGreaterThan(0)
    }
  })
})

test('blank statements are left out, a byte order mark is not part of the first', async () => {
  await write({
    ...journal('a'),
    'a.sql': '\uFEFFselect 1;--> statement-breakpoint\n \n--> statement-breakpoint\nselect 2;\n',
  })
  const [migration] = await readMigrations(folder)
  expect(migration?.statements).toEqual(['select 1;', '\nselect 2;\n'])
  expect(migration?.hash).toBe(readByDrizzle({ migrationsFolder: folder })[0]?.hash)
})

test('the order is that of the journal, not of the names', async () => {
  await write({ ...journal('b', 'a'), 'a.sql': '1', 'b.sql': '2' })
  expect((await readMigrations(folder)).map(({ name }) => name)).toEqual(['b', 'a'])
})

test('a journal without entries holds no migrations', async () => {
  await write(journal())
  expect(await readMigrations(folder)).toEqual([])
})

describe('refuses', () => {
  test('a folder that is not there', async () => {
    await expect(readMigrations(join(folder, 'none'))).rejects.toEqual(refused('ENOENT'))
  })

  test('a file instead of a folder', async () => {
    await write({ 'x.sql': '' })
    await expect(readMigrations(join(folder, 'x.sql'))).rejects.toEqual(refused('ENOTDIR'))
  })

  test('a folder without migrations, which would give tenants without tables', async () => {
    await write({ 'a.sql': 'select 1', 'src/a.ts': '' })
    await expect(readMigrations(folder)).rejects.toEqual(refused('drizzle-kit generate'))
  })

  test('both formats at once', async () => {
    await write({ ...journal('a'), 'a.sql': '1', '20250101000000_b/migration.sql': '2' })
    await expect(readMigrations(folder)).rejects.toEqual(refused('two formats'))
  })

  test('a file the journal names and nobody wrote', async () => {
    await write({ ...journal('a', 'b'), 'a.sql': '1' })
    await expect(readMigrations(folder)).rejects.toEqual(refused('ENOENT.*b\\.sql'))
  })

  test.each(['../a', '..', '.', 'x/../../a', 'x\\a', '/etc/passwd', '', 'a\0b', '.hidden'])(
    'the tag %j, which is no plain file name',
    async (tag) => {
      await write({ ...journal(tag), 'a.sql': '1' })
      await expect(readMigrations(folder)).rejects.toEqual(refused('not a plain file name'))
    },
  )

  test.each([
    ['{', 'not JSON'],
    ['[]', 'malformed'],
    ['{"entries":[{"tag":"a"}]}', 'malformed.*when'],
    ['{"entries":[{"tag":"a","when":"1"}]}', 'malformed.*when'],
    ['{"entries":[{"tag":"a","when":-1}]}', 'malformed.*when'],
    ['{"entries":[{"when":1}]}', 'malformed.*tag'],
  ])('the journal %s', async (text, reason) => {
    await write({ 'meta/_journal.json': text, 'a.sql': '1' })
    await expect(readMigrations(folder)).rejects.toEqual(refused(reason))
  })

  test('a name listed twice', async () => {
    await write({ ...journal('a', 'a'), 'a.sql': '1' })
    await expect(readMigrations(folder)).rejects.toEqual(refused('listed twice'))
  })

  test('[W21] two files of one content: by hash the second would count as applied', async () => {
    await write({ ...journal('a', 'b'), 'a.sql': '1', 'b.sql': '1' })
    await expect(readMigrations(folder)).rejects.toEqual(refused('a and b have the same content'))
  })

  test('a folder name without a time', async () => {
    await write({ 'init/migration.sql': '1' })
    await expect(readMigrations(folder)).rejects.toEqual(refused('init does not begin with YYYYMMDDHHMMSS'))
  })

  test('a file that cannot be read', async () => {
    await mkdir(join(folder, '20250101000000_a/migration.sql'), { recursive: true })
    await expect(readMigrations(folder)).rejects.toEqual(refused('EISDIR'))
  })
})
