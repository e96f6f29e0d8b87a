import { tenancyError } from '../../../errors.ts'
import { scopedBatch, TENANT_PARAMETER } from '../scope-batch.ts'

/** One parameter; without a type, mssql finds one by the value. */
export interface Parameter {
  readonly name: string
  readonly value: unknown
  readonly type?: unknown
}

/** One statement as it is sent. */
export interface MssqlStatement {
  readonly text: string
  readonly parameters: readonly Parameter[]
  /** Rows as arrays. */
  readonly arrays?: boolean
}

/** What must be true of a session before a tenant's statement runs in it. */
export interface SessionTenant {
  /** The value of the session's tenant; null for none. */
  readonly value: string | null
  /** How the value is sent. */
  readonly type: unknown
}

/** What one may be called; never like ours. */
const NAME = /^(?!tenancy_)[A-Za-z_]\w{0,100}$/i

/** Checks a parameter's name: it becomes a part of SQL. @throws TENANCY_ERR_STATEMENT_REFUSED */
export function assertName(name: unknown): asserts name is string {
  if (typeof name === 'string' && NAME.test(name)) return
  throw tenancyError('TENANCY_ERR_STATEMENT_REFUSED', [
    'a parameter by that name; use letters, digits and _, not `tenancy_…`',
  ])
}

/** A statement with the batch that makes it the tenant's, where the server has shared tables. */
export function scoped(statement: MssqlStatement, tenant: SessionTenant | undefined): MssqlStatement {
  if (tenant === undefined) return statement
  const { text, parameters } = statement
  const own: Parameter = { name: TENANT_PARAMETER, value: tenant.value, type: tenant.type }
  return { ...statement, text: scopedBatch(text), parameters: [own, ...parameters] }
}

/** A text with `@p0`, `@p1` … and their values, for our own statements. */
export function statementOf(text: string, values: readonly unknown[] = []): MssqlStatement {
  return { text, parameters: values.map((value, i) => ({ name: `p${i}`, value })) }
}
