import { createSharedTransaction } from '../../../connections/shared-transaction.ts'
import { openTransactions } from '../../../context.ts'
import type { Guard, LazyTransaction } from '../../../contracts/dialect.ts'
import { tenancyError } from '../../../errors.ts'
import { quoteIdentifier } from '../quote.ts'
import type { ScopeSql } from '../scope-sql.ts'
import { leadingKeyword, tokenize } from '../lexer.ts'
import { statementKind } from '../statement-kind.ts'
import type { HeldTransaction, OpenTransaction, PgliteConnection } from './pglite-connection.ts'
import type { PgliteQuery } from './pglite-types.ts'

/** Role of every tenant statement; PGlite itself runs as superuser. */
export const PGLITE_SERVING_ROLE = 'tenancy_app'

const SERVING = `set local session authorization ${quoteIdentifier(PGLITE_SERVING_ROLE)}`

/** What confines one tenant. */
export interface PgliteSession {
  readonly tenantId: string
  readonly scope: ScopeSql
  readonly guard: Guard
  /** Writes the tenant's names into a statement that Drizzle built from adopted tables. */
  readonly scopeText: (text: string) => string
  readonly onStatement: ((text: string) => void) | undefined
}

/**
 * What Drizzle takes for a PGlite: confined to one tenant. Every statement is a transaction of its own that sets role,
 * path and settings first. There is one connection: inside an open transaction the same tenant joins it, and another
 * tenant is refused, because it would wait for ever.
 */
export function pgliteTenantClient(connection: PgliteConnection, session: PgliteSession): object {
  const query: PgliteQuery = async (...statement) => {
    check(session, statement[0])
    const joined = await connection.joinable(session.tenantId)
    if (joined !== undefined) return send(joined, session, statement)
    return connection.transaction(session.tenantId, preamble(session), (open) => send(open, session, statement))
  }
  const transaction = async <T>(work: (transaction: object) => Promise<T>): Promise<T> => {
    session.guard()
    const joined = await connection.joinable(session.tenantId)
    if (joined !== undefined) return joined.nest((inner) => work(facade(inner, session)))
    return connection.transaction(session.tenantId, preamble(session), async (open) => {
      session.guard('send')
      const result = await work(facade(open, session))
      // COMMIT is a statement too: what a tenant did that is no longer served does not land.
      session.guard('send')
      return result
    })
  }
  const exec = () => Promise.reject(tenancyError('TENANCY_ERR_STATEMENT_REFUSED', ['several statements in one text']))
  return Object.freeze({ query, transaction, exec })
}

/** One transaction for several statements of a request. While it is open the embedded database serves nobody else. */
export function pgliteLazyTransaction(
  connection: PgliteConnection,
  session: PgliteSession,
  timeoutMs: number,
): LazyTransaction {
  const transaction = createSharedTransaction<HeldTransaction>({
    depth: openTransactions,
    timeoutMs,
    begin: async () => connection.hold(session.tenantId, preamble(session)),
    async end(held, how) {
      try {
        if (how === 'commit') session.guard('send')
      } catch (error) {
        await held.end('rollback').catch(() => {})
        throw error
      }
      await held.end(how)
    },
  })
  const query: PgliteQuery = async (...statement) => {
    check(session, statement[0])
    const { opened } = await transaction.connection()
    return send(await opened, session, statement)
  }
  const nested = async <T>(work: (transaction: object) => Promise<T>) => {
    session.guard()
    const { connection: held, begun, over } = await transaction.nest()
    try {
      const open = await held.opened
      begun()
      return await open.nest((inner) => work(facade(inner, session)))
    } finally {
      over()
    }
  }
  return Object.freeze({
    client: Object.freeze({ query, transaction: nested }),
    commit: transaction.commit,
    rollback: transaction.rollback,
  })
}

/** SET LOCAL and not `set_config`: a SELECT would take the snapshot too early for SET TRANSACTION. */
function preamble({ scope }: PgliteSession): string {
  return `${SERVING};set local role none;${scope.setLocal}`
}

function facade(open: OpenTransaction, session: PgliteSession): object {
  const query: PgliteQuery = async (...statement) => {
    check(session, statement[0])
    return send(open, session, statement)
  }
  return Object.freeze({ query })
}

/** Sends a statement that was checked when it was handed over. */
async function send(open: OpenTransaction, session: PgliteSession, statement: Parameters<PgliteQuery>) {
  session.guard('send')
  const [text, ...rest] = statement
  session.onStatement?.(text)
  const { again } = session.scope
  const scoped = session.scopeText(text)
  if (again === undefined) return open.query(scoped, ...rest)
  // Before every statement, with nothing in between: the one before may have changed the role.
  return open.queryAfter(`${SERVING};${again}`, scoped, ...rest)
}

/** Refuses before anything is sent. */
function check(session: PgliteSession, text: string): void {
  session.guard()
  const refusal = refusalOf(text)
  if (refusal !== undefined) throw tenancyError('TENANCY_ERR_STATEMENT_REFUSED', [refusal])
}

function refusalOf(text: string): string | undefined {
  const statement = statementKind(text)
  const { kind } = statement
  if (statement.kind === 'refused') return statement.what
  // All of it is the library's: after a raw COMMIT the scope would be gone.
  if (kind !== 'plain' && kind !== 'procedure') return 'transaction control; use `transaction()`'
  const keyword = leadingKeyword(text)
  // Nobody would ever feed COPY FROM STDIN, and PGlite never comes back from it.
  if (keyword === 'copy') return 'COPY on an embedded database'
  if (keyword === 'set' && setsUser(text)) return 'SET SESSION AUTHORIZATION'
  return undefined
}

/** Whether a SET changes the session's user, or may: what a name with escapes (`U&"…"`) stands for is not read here. */
function setsUser(text: string): boolean {
  const tokens = tokenize(text)
  if (tokens.some(({ kind }) => kind === 'unicode-identifier')) return true
  const names = tokens.filter(({ kind }) => kind === 'word' || kind === 'quoted-identifier')
  return /\bsession[ _]authorization\b/.test(names.map((name) => name.text.toLowerCase()).join(' '))
}
