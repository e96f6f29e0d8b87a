import type { Guard } from '../../../contracts/dialect.ts'
import { tenancyError } from '../../../errors.ts'
import { type StatementKind, statementKind } from '../statement-kind.ts'
import { type MssqlStatement, scoped, type SessionTenant } from './mssql-statement.ts'

/** What confines the clients of one tenant. */
export interface TenantSession {
  readonly guard: Guard
  /** Writes the tenant's names into a statement that Drizzle built from adopted tables. */
  readonly scopeText: (text: string) => string
  /** What the session's tenant must be; undefined where no table is shared. */
  readonly tenant: SessionTenant | undefined
  /** Told the text of every statement before it is sent. */
  readonly onStatement: ((text: string) => void) | undefined
}

/** A statement that may be sent as it is. */
export interface Admitted {
  readonly kind: StatementKind['kind']
  readonly statement: MssqlStatement
}

/** Writes the tenant into a statement. @throws TENANCY_ERR_STATEMENT_REFUSED for what no tenant may send */
export function admit({ scopeText, tenant }: TenantSession, statement: MssqlStatement): Admitted {
  const kind = statementKind(statement.text)
  if (kind.kind === 'refused') throw tenancyError('TENANCY_ERR_STATEMENT_REFUSED', [kind.what])
  return { kind: kind.kind, statement: scoped({ ...statement, text: scopeText(statement.text) }, tenant) }
}
