import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { z } from 'zod'
import type { Migration } from '../contracts/migrator.ts'
import { tenancyError } from '../errors.ts'

const BREAKPOINT = '--> statement-breakpoint'
const JOURNAL = join('meta', '_journal.json')
/** A tag becomes a file name: no way out of the folder. */
const TAG = /^[^./\\\0][^/\\\0]*$/
const LINE_END = /\r\n?|\n/
/** Folder names of drizzle-kit 1.0: YYYYMMDDHHMMSS, then a name. */
const TIMESTAMP = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(?!\d)/

const journalShape = z.object({
  entries: z.array(z.object({ tag: z.string().regex(TAG, 'is not a plain file name'), when: z.int().nonnegative() })),
})

/** Name, SQL file and time of a migration before its file is read. */
type Entry = Pick<Migration, 'name' | 'file' | 'createdAt'>

/**
 * Reads a folder written by `drizzle-kit generate`, of 0.31 (`meta/_journal.json`) or of 1.0 (a folder per migration), in
 * the order in which Drizzle's own migrator applies it and with the same hashes, so that a ledger of either stays valid.
 * @throws TENANCY_ERR_MIGRATIONS_FOLDER when the folder or one of its files is missing, malformed or ambiguous
 */
export async function readMigrations(folder: string): Promise<readonly Migration[]> {
  const journal = await readOptional(folder, JOURNAL)
  const folders = await foldersOf(folder)
  if (journal === undefined && folders.length === 0) {
    throw refuse(folder, 'it holds no migrations; run `drizzle-kit generate` first')
  }
  if (journal !== undefined && folders.length > 0) {
    throw refuse(folder, 'it holds migrations of two formats; run `drizzle-kit up` of 1.0 or remove one of them')
  }
  const entries = journal === undefined ? entriesOfFolders(folder, folders) : entriesOfJournal(folder, journal)
  const migrations = await Promise.all(entries.map((entry) => readMigration(folder, entry)))
  refuseTwins(folder, migrations)
  return Object.freeze(migrations)
}

function entriesOfJournal(folder: string, text: string): Entry[] {
  const parsed = journalShape.safeParse(parseJson(folder, text))
  if (!parsed.success) throw refuse(folder, `${JOURNAL} is malformed: ${z.prettifyError(parsed.error)}`, parsed.error)
  return parsed.data.entries.map(({ tag, when }) => ({ name: tag, file: join(folder, `${tag}.sql`), createdAt: when }))
}

function entriesOfFolders(folder: string, names: readonly string[]): Entry[] {
  // The comparison Drizzle sorts with.
  return [...names]
    .sort((a, b) => a.localeCompare(b))
    .map((name) => ({ name, file: join(folder, name, 'migration.sql'), createdAt: timeOf(folder, name) }))
}

function timeOf(folder: string, name: string): number {
  const match = TIMESTAMP.exec(name)
  if (match === null) throw refuse(folder, `the name of ${name} does not begin with YYYYMMDDHHMMSS`)
  const [year = 0, month = 0, day, hour, minute, second] = match.slice(1).map(Number)
  return Date.UTC(year, month - 1, day, hour, minute, second)
}

async function readMigration(folder: string, entry: Entry): Promise<Migration> {
  const text = await readRequired(folder, entry.file)
  const statements = text
    .replace(/^\uFEFF/, '')
    .split(BREAKPOINT)
    .filter((statement) => statement.trim() !== '')
  const lines = text.split(LINE_END)
  const hash = sha256(lines.join('\n'))
  // Git may write CRLF on one machine and LF on another, and Drizzle hashes the file as it is.
  const otherHashes = [sha256(lines.join('\r\n')), sha256(text)].filter((other) => other !== hash)
  return Object.freeze({
    ...entry,
    hash,
    otherHashes: Object.freeze(otherHashes),
    statements: Object.freeze(statements),
  })
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}

/** The ledger knows a migration by its hash: of two equal files it would never run the second. */
function refuseTwins(folder: string, migrations: readonly Migration[]): void {
  const names = new Set<string>()
  const byHash = new Map<string, string>()
  for (const { name, hash } of migrations) {
    if (names.has(name)) throw refuse(folder, `${name} is listed twice`)
    const twin = byHash.get(hash)
    if (twin !== undefined) {
      throw refuse(
        folder,
        `${twin} and ${name} have the same content and so the same hash; add a comment to one of them`,
      )
    }
    names.add(name)
    byHash.set(hash, name)
  }
}

async function foldersOf(folder: string): Promise<string[]> {
  let names: string[]
  try {
    names = await readdir(folder)
  } catch (error) {
    throw refuse(folder, reasonOf(error), error)
  }
  const present = await Promise.all(names.map((name) => readOptional(folder, join(name, 'migration.sql'))))
  return names.filter((_, index) => present[index] !== undefined)
}

/** The text of a file below `folder`; `undefined` when there is none. */
async function readOptional(folder: string, path: string): Promise<string | undefined> {
  try {
    return await readFile(join(folder, path), 'utf8')
  } catch (error) {
    if (isMissing(error)) return undefined
    throw refuse(folder, reasonOf(error), error)
  }
}

async function readRequired(folder: string, file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8')
  } catch (error) {
    throw refuse(folder, reasonOf(error), error)
  }
}

function parseJson(folder: string, text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw refuse(folder, `${JOURNAL} is not JSON: ${reasonOf(error)}`, error)
  }
}

function isMissing(error: unknown): boolean {
  const code = (error as { code?: unknown }).code
  return code === 'ENOENT' || code === 'ENOTDIR'
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

function refuse(folder: string, reason: string, cause?: unknown) {
  // A relative one depends on where the process was started.
  return tenancyError('TENANCY_ERR_MIGRATIONS_FOLDER', [resolve(folder), reason], cause)
}
