import { lstatSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import type { AdminConnection } from '../../contracts/dialect.ts'
import type { Finding, Inspection } from '../../contracts/verification.ts'
import { finding, type RuleId } from '../../verification/rules.ts'
import { type Location, SIDE_FILES } from './location.ts'

const RULES: readonly RuleId[] = ['sqlite-1', 'sqlite-2', 'sqlite-3', 'sqlite-4']

/** Rights of anybody but the owner. */
const OTHERS = 0o077

const TENANT_FILE = new RegExp(`^t[0-9a-z]{25}\\.db(?:${SIDE_FILES.join('|')})?$`)

/** Looks at the main file and at the folder of the tenants. Changes nothing. */
export async function inspectFiles(query: AdminConnection['query'], location: Location): Promise<Inspection> {
  const [log] = await query<{ journal_mode: string }>('pragma journal_mode')
  const broken = await query<{ table: string }>('pragma foreign_key_check')
  return Object.freeze({
    rules: RULES,
    findings: [
      ...openFiles(location),
      ...(log?.journal_mode === 'wal'
        ? []
        : [finding('sqlite-2', location.mainFile, `its journal_mode is ${log?.journal_mode ?? 'not known'}`)]),
      ...[...new Set(broken.map(({ table }) => table))].map((table) =>
        finding('sqlite-3', table, `rows of ${table} refer to rows that are not there`),
      ),
      ...strangers(location),
    ],
  })
}

function openFiles({ mainFile, registryFile, tenantFolder }: Location): Finding[] {
  const own = readdirSync(tenantFolder).filter((name) => TENANT_FILE.test(name))
  return [mainFile, registryFile, tenantFolder, ...own.map((name) => join(tenantFolder, name))].flatMap((path) => {
    const found = lstatSync(path, { throwIfNoEntry: false })
    const mode = (found?.mode ?? 0) & 0o777
    // Where there are no such rights, as on Windows, all are shown as given; those of a link say nothing.
    return process.platform === 'win32' || found?.isSymbolicLink() === true || (mode & OTHERS) === 0
      ? []
      : [finding('sqlite-1', path, `its rights are ${mode.toString(8)}: others than its owner can get at it`)]
  })
}

function strangers({ tenantFolder }: Location): Finding[] {
  return readdirSync(tenantFolder, { withFileTypes: true })
    .filter((entry) => !entry.isFile() || !TENANT_FILE.test(entry.name))
    .map(({ name }) => finding('sqlite-4', join(tenantFolder, name), 'it is no file of a tenant'))
}
