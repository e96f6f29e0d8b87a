import { randomUUID } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { DdlRefusal } from '../../../src/contracts/migrator.ts'
import { createDdlParser } from '../../../src/dialects/sqlite/ddl.ts'
import { namespaceStrategy } from '../../../src/isolation/namespace.ts'
import { placedScope } from '../../support/database.ts'

const parseDdl = createDdlParser()

const own = placedScope(namespaceStrategy('database'))
const shared = placedScope(namespaceStrategy('prefix'))
const prefix = `${shared.namespace}__`

it('in a file of its own a statement runs as it is written', () => {
  const text = 'CREATE TABLE `orders` (\n\t`id` integer PRIMARY KEY -- the "key"\n);\n'
  expect(parseDdl(text).render(own)).toBe(text)
})

it('where tenants share a file every name gets the prefix', () => {
  expect(parseDdl('CREATE INDEX `i` ON `orders` (`id`);').render(shared)).toBe(
    `CREATE INDEX "${prefix}i" ON "${prefix}orders" (\`id\`);`,
  )
})

it('is read once and written for each', () => {
  const template = parseDdl('DROP TABLE `orders`')
  const other = placedScope(namespaceStrategy('prefix'))
  expect(template.render(shared)).toContain(prefix)
  expect(template.render(other)).toContain(other.namespace)
  expect(template.render(other)).not.toContain(prefix)
})

it('a namespace that was not generated opens nothing', () => {
  const forged = { ...shared, namespace: 't1"; drop table x; --', tenantId: randomUUID() }
  expect(() => parseDdl('DROP TABLE `orders`').render(forged)).toThrow(
    expect.objectContaining({ code: 'TENANCY_ERR_TENANT_INVALID' }),
  )
})

describe('the settings of drizzle-kit', () => {
  it.each(['PRAGMA foreign_keys=OFF;', 'PRAGMA foreign_keys=ON;--x', ' pragma defer_foreign_keys = on '])(
    '%s is nothing to run',
    (text) => {
      expect(parseDdl(text).render(own)).toBe('')
      expect(parseDdl(text).render(shared)).toBe('')
    },
  )

  it('are cut out where they stand beside others', () => {
    const text = 'PRAGMA foreign_keys=OFF;\nDROP TABLE `a`;\nPRAGMA foreign_keys=ON;'
    expect(parseDdl(text).render(own).trim()).toBe('DROP TABLE `a`;')
    expect(parseDdl(text).render(shared).trim()).toBe(`DROP TABLE "${prefix}a";`)
  })
})

describe('a trigger', () => {
  const text = 'CREATE TRIGGER t AFTER INSERT ON a BEGIN UPDATE a SET b = CASE 1 WHEN 1 THEN 2 END; DELETE FROM c; END;'
  it('is allowed in a file of its own, with all its statements', () => {
    expect(parseDdl(text).render(own)).toBe(text)
  })
  it('is refused where names are written into it', () => {
    expect(() => parseDdl(text).render(shared)).toThrow(DdlRefusal)
  })
  it('does not hide what follows it', () => {
    expect(() => parseDdl(`${text} ATTACH 'x' AS y;`)).toThrow(DdlRefusal)
    expect(() => parseDdl(`${text} COMMIT;`)).toThrow(DdlRefusal)
  })
})

it.each([
  `ATTACH 'x' AS y`,
  'DETACH y',
  'BEGIN',
  'COMMIT',
  'END',
  'SAVEPOINT a',
  `VACUUM INTO 'x'`,
  'PRAGMA journal_mode = delete',
  'PRAGMA foreign_keys',
  'PRAGMA writable_schema = on',
  'CREATE TEMP TABLE a (b)',
  'CREATE TEMPORARY VIEW a AS SELECT 1',
  'CREATE TABLE temp.a (b)',
  'CREATE TABLE "temp"."a" (b)',
  `INSERT INTO a SELECT load_extension('x')`,
  'DROP TABLE `a`; COMMIT',
  'DROP TABLE __drizzle_migrations',
  'DROP TABLE a\0',
  "DROP TABLE a -- \r ' \n; ATTACH 'x' AS y --'",
  'DROP TABLE "a',
])('%j is refused', (text) => {
  expect(() => parseDdl(text)).toThrow(DdlRefusal)
})

it('a virtual table is refused under a prefix only', () => {
  const text = `CREATE VIRTUAL TABLE notes USING fts5(body, content='orders')`
  expect(parseDdl(text).render(own)).toBe(text)
  expect(() => parseDdl(text).render(shared)).toThrow(DdlRefusal)
})
