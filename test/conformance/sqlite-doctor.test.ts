import { chmodSync, mkdirSync, rmSync, statSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createClient } from '@libsql/client'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Scope } from '../../src/contracts/isolation.ts'
import type { BetterDatabaseClass } from '../../src/dialects/sqlite/drivers/better-sqlite3-types.ts'
import { diagnose } from '../../src/doctor.ts'
import { describeWith } from '../servers/suite.ts'
import { newTenant, openBetterSqlite3, openSqlite, ownFile, type SqliteServer } from '../support/sqlite.ts'

describe('doctor on SQLite', () => doctorSuite(openSqlite, byLibsql))

describeWith(['better-sqlite3'], 'doctor on SQLite with better-sqlite3', () =>
  doctorSuite(openBetterSqlite3, byBetterSqlite3),
)

/**
 * Runs SQL as another process would. By the same copy of SQLite: two in one process know nothing of each other's locks.
 */
type Besides = (path: string, text: string) => Promise<void>

async function byLibsql(path: string, text: string): Promise<void> {
  const client = createClient({ url: `file:${path}` })
  await client.executeMultiple(text)
  client.close()
}

async function byBetterSqlite3(path: string, text: string): Promise<void> {
  const Database = (await import('better-sqlite3')).default as BetterDatabaseClass
  const database = new Database(path, { fileMustExist: true, timeout: 0 })
  database.exec(text)
  database.close()
}

function doctorSuite(openFiles: typeof openBetterSqlite3, besides: Besides): void {
  let sqlite: SqliteServer
  let tenant: Scope
  const red = new Set<string>()
  beforeAll(async () => {
    sqlite = await openFiles()
    tenant = await newTenant(sqlite, 'database', ['create table items (id integer primary key)'])
    await newTenant(sqlite, 'prefix', ['create table items (id integer primary key)'])
  })
  afterAll(() => sqlite?.close())

  const found = async () => {
    const { findings, rules } = await diagnose(sqlite.server, ['database', 'prefix'])
    for (const { rule } of findings) {
      red.add(rule)
      expect(rules).toContain(rule)
    }
    return findings.map(({ rule, object }) => [rule, object])
  }

  it('finds nothing where all is as it should be: all files are their owner’s alone from the start', async () => {
    expect(await found()).toEqual([])
    for (const path of [sqlite.mainFile, `${sqlite.mainFile}.registry`, `${sqlite.mainFile}-wal`]) {
      expect(statSync(path).mode & 0o777, path).toBe(0o600)
    }
  })

  it('sqlite-1: the main file or a tenant’s can be read by others', async () => {
    chmodSync(sqlite.mainFile, 0o644)
    chmodSync(ownFile(sqlite, tenant), 0o640)
    expect(await found()).toEqual([
      ['sqlite-1', sqlite.mainFile],
      ['sqlite-1', ownFile(sqlite, tenant)],
    ])
    chmodSync(sqlite.mainFile, 0o600)
    chmodSync(ownFile(sqlite, tenant), 0o600)
    expect(await found()).toEqual([])
  })

  it('sqlite-2: the main file has no write-ahead log', async () => {
    const other = await openFiles()
    await besides(other.mainFile, 'pragma journal_mode = delete')
    const { findings } = await diagnose(other.server, ['prefix'])
    expect(findings.map(({ rule }) => rule)).toEqual(['sqlite-2'])
    red.add('sqlite-2')
    await other.close()
  })

  it('sqlite-3: rows refer to rows that are not there', async () => {
    await besides(
      sqlite.mainFile,
      `pragma foreign_keys = off; create table parent (id integer primary key); create table child (p integer references parent); insert into child values (7)`,
    )
    expect(await found()).toEqual([['sqlite-3', 'child']])
    await besides(sqlite.mainFile, 'drop table child; drop table parent')
    expect(await found()).toEqual([])
  })

  it('sqlite-4: something else is among the files of the tenants', async () => {
    const folder = `${sqlite.mainFile}.tenants`
    writeFileSync(join(folder, 'notes.txt'), '')
    mkdirSync(join(folder, 'more'))
    symlinkSync(ownFile(sqlite, tenant), join(folder, 't0000000000000000000000000.db'))
    expect(await found()).toEqual(
      ['more', 'notes.txt', 't0000000000000000000000000.db'].map((name) => ['sqlite-4', join(folder, name)]),
    )
    unlinkSync(join(folder, 't0000000000000000000000000.db'))
    unlinkSync(join(folder, 'notes.txt'))
    rmSync(join(folder, 'more'), { recursive: true })
    expect(await found()).toEqual([])
  })

  it('has seen every rule red', async () => {
    const { rules } = await diagnose(sqlite.server, ['prefix'])
    expect(rules.filter((rule) => !red.has(rule))).toEqual([])
  })
}
