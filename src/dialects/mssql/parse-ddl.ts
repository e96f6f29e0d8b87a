import { DdlRefusal, type DdlTemplate } from '../../contracts/migrator.ts'
import type { SharedTables } from '../../contracts/shared-tables.ts'
import { type Lexeme, lexemesOf } from '../../sql/ddl/lexemes.ts'
import { type NamedDdl, parseNamedDdl } from '../../sql/ddl/named-ddl.ts'
import { type SharedNames, sharedNames } from '../../sql/ddl/shared-names.ts'
import { layoutOf, type SharedSchemas } from './layout.ts'
import { mssqlProfile } from './profile.ts'

/** Reads the statements of migrations; `tables` are those of all tenants. */
export function createDdlParser(shared: SharedSchemas, tables?: SharedTables): (statement: string) => DdlTemplate {
  const names = sharedNames(tables, { qualifier: [tables?.schema ?? ''], prefix: '' }, mssqlProfile)
  return function parseDdl(statement) {
    const ddl = parseBatch(statement, names)
    return Object.freeze({
      render: (scope) => ddl.render(layoutOf(scope, shared).ddlNaming),
    } satisfies DdlTemplate)
  }
}

/** Reads one piece of migrations, in which names of tables that all tenants use stand for these. */
export function parseBatch(statement: string, names?: SharedNames): NamedDdl {
  refuseBatches(statement, lexemesOf(statement, mssqlProfile))
  return parseNamedDdl(statement, mssqlProfile, names)
}

/** What sqlcmd knows and the database does not, and what lives in tempdb whatever schema is written before it. */
function refuseBatches(statement: string, lexemes: readonly Lexeme[]): void {
  for (const { word, name, start, end } of lexemes) {
    if (word === 'go' && isAlone(statement, start, end)) {
      throw new DdlRefusal('GO is a word of sqlcmd, not SQL; separate statements by `--> statement-breakpoint`')
    }
    if (name?.startsWith('#') === true) throw new DdlRefusal(`the temporary table ${name}`)
  }
}

function isAlone(text: string, start: number, end: number): boolean {
  const before = text.slice(text.lastIndexOf('\n', start - 1) + 1, start)
  return before.trim() === '' && /^[ \t]*(\d+[ \t]*)?\r?(\n|$)/.test(text.slice(end))
}
