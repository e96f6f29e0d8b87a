import { DdlRefusal, type DdlTemplate } from '../../contracts/migrator.ts'
import { lexemesOf } from '../../sql/ddl/lexemes.ts'
import { parseNamedDdl } from '../../sql/ddl/named-ddl.ts'
import { layoutOf } from './layout.ts'
import { mysqlProfile } from './profile.ts'

/** Reads the statements of migrations; `shared` is the database of prefixed tables. */
export function createDdlParser(shared: string | undefined): (statement: string) => DdlTemplate {
  return function parseDdl(statement) {
    const lexemes = lexemesOf(statement, mysqlProfile)
    const end = lexemes.findIndex(({ word }) => word === ';')
    // The server is never allowed to take several at once: an injection would find that open.
    if (end >= 0 && lexemes.slice(end).some(({ word }) => word !== ';')) {
      throw new DdlRefusal('two statements; separate them by `--> statement-breakpoint`')
    }
    const ddl = parseNamedDdl(statement, mysqlProfile)
    return Object.freeze({
      render: (scope) => ddl.render(layoutOf(scope, shared).naming),
    } satisfies DdlTemplate)
  }
}
