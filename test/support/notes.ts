import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createClient } from '@libsql/client'
import type { LibSQLDatabase } from 'drizzle-orm/libsql'
import { int, mysqlTable, varchar } from 'drizzle-orm/mysql-core'
import { integer as pgInteger, pgTable, text as pgText } from 'drizzle-orm/pg-core'
import { integer, sqliteTable, text } from 'drizzle-orm/sqlite-core'
import type { Placement } from '../../src/index.ts'
import { asRoot, type MysqlDatabase } from './mysql.ts'

/** The builders of all databases have the same shape where one small table is used. */
export type NotesDb = LibSQLDatabase

/** The table `notes` of each database. */
export const sqliteNotes = () => sqliteTable('notes', { id: integer('id').notNull(), body: text('body').notNull() })
export const mysqlNotes = () =>
  mysqlTable('notes', { id: int('id').notNull(), body: varchar('body', { length: 200 }).notNull() })
export const postgresNotes = () => pgTable('notes', { id: pgInteger('id').notNull(), body: pgText('body').notNull() })

/** A migrations folder inside `folder` that makes it, with names in the quotes of the database. */
export function notesMigrations(folder: string, quote: '"' | '`'): string {
  const copy = join(folder, quote === '"' ? 'double' : 'back')
  mkdirSync(join(copy, 'meta'), { recursive: true })
  writeFileSync(join(copy, 'meta/_journal.json'), '{"entries":[{"tag":"0000_notes","when":1}]}')
  writeFileSync(
    join(copy, '0000_notes.sql'),
    `CREATE TABLE "notes" ("id" integer NOT NULL, "body" varchar(200) NOT NULL);`.replaceAll('"', quote),
  )
  return copy
}

/** How many notes of a tenant the superuser finds: the tenant's own database, or its tables in the shared one. */
export async function mysqlRows(
  { superUrl, database }: MysqlDatabase,
  { strategy, namespace }: Placement,
): Promise<number> {
  const [schema, table] = strategy === 'prefix' ? [database, `${namespace}__notes`] : [namespace, 'notes']
  const found = await asRoot<{ rows: number }>(superUrl, [
    `select count(*) as \`rows\` from \`${schema}\`.\`${table}\``,
  ]).catch((error: { code?: string }) => {
    if (error.code !== 'ER_NO_SUCH_TABLE' && error.code !== 'ER_BAD_DB_ERROR') throw error
    return []
  })
  return found[0]?.rows ?? 0
}

/** How many another connection finds in the files. */
export async function sqliteRows(mainFile: string, { strategy, namespace }: Placement): Promise<number> {
  const own = strategy === 'database'
  const file = own ? join(`${mainFile}.tenants`, `${namespace}.db`) : mainFile
  if (!existsSync(file)) return 0
  const client = createClient({ url: `file:${file}` })
  try {
    const table = own ? 'notes' : `${namespace}__notes`
    const { rows } = await client.execute({ sql: 'select name from sqlite_master where name = ?', args: [table] })
    if (rows.length === 0) return 0
    return Number((await client.execute(`select count(*) as n from "${table}"`)).rows[0]?.['n'])
  } finally {
    client.close()
  }
}
