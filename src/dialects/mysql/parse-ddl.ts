import { DdlRefusal, type DdlTemplate } from '../../contracts/migrator.ts'
import type { SharedTables } from '../../contracts/shared-tables.ts'
import { lexemesOf } from '../../sql/ddl/lexemes.ts'
import { type NamedDdl, parseNamedDdl } from '../../sql/ddl/named-ddl.ts'
import { type SharedNames, sharedNames } from '../../sql/ddl/shared-names.ts'
import { layoutOf } from './layout.ts'
import { mysqlProfile } from './profile.ts'

/** Reads the statements of migrations; `shared` is the database of prefixed tables, `tables` are those of all tenants. */
export function createDdlParser(shared: string | undefined, tables?: SharedTables): (statement: string) => DdlTemplate {
  const names = sharedNames(tables, { qualifier: [tables?.schema ?? ''], prefix: '' }, mysqlProfile)
  return function parseDdl(statement) {
    const ddl = parseOne(statement, names)
    return Object.freeze({
      render: (scope) => ddl.render(layoutOf(scope, shared).naming),
    } satisfies DdlTemplate)
  }
}

/** Reads one statement, in which names of tables that all tenants use stand for these. */
export function parseOne(statement: string, names?: SharedNames): NamedDdl {
  const lexemes = lexemesOf(statement, mysqlProfile)
  const end = lexemes.findIndex(({ word }) => word === ';')
  // The server is never allowed to take several at once: an injection would find that open.
  if (end >= 0 && lexemes.slice(end).some(({ word }) => word !== ';')) {
    throw new DdlRefusal('two statements; separate them by `--> statement-breakpoint`')
  }
  return parseNamedDdl(statement, mysqlProfile, names)
}
