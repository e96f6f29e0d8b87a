import { createSharedTransaction } from '../../../connections/shared-transaction.ts'
import { openTransactions } from '../../../context.ts'
import type { Guard, LazyTransaction } from '../../../contracts/dialect.ts'
import { tenancyError } from '../../../errors.ts'
import { quoteIdentifier } from '../quote.ts'
import type { ScopeSql } from '../scope-sql.ts'
import { leadingKeyword, tokenize } from '../lexer.ts'
import { type StatementKind, statementKind } from '../statement-kind.ts'
import type { HeldTransaction, OpenTransaction, PgliteConnection } from './pglite-connection.ts'
import type { PgliteQuery } from './pglite-types.ts'

/** Role of every tenant statement; PGlite itself runs as superuser. */
export const PGLITE_SERVING_ROLE = 'tenancy_app'

/** Of every lead that is not the admin's. The session's user changes and not only its role: RESET ROLE leads back to that user. */
export const SERVING = `set session authorization ${quoteIdentifier(PGLITE_SERVING_ROLE)};set role none`

/** Of every statement of a transaction whose statement before may have changed the role. */
const SERVING_NOW = `set local session authorization ${quoteIdentifier(PGLITE_SERVING_ROLE)}`

/** What confines one tenant. */
export interface PgliteSession {
  readonly tenantId: string
  /** Makes the session this tenant's: user, role, path and settings. */
  readonly lead: string
  readonly again: ScopeSql['again']
  readonly guard: Guard
  /** Writes the tenant's names into a statement that Drizzle built from adopted tables. */
  readonly scopeText: (text: string) => string
  readonly onStatement: ((text: string) => void) | undefined
}

/**
 * What Drizzle takes for a PGlite: confined to one tenant. Every statement comes behind its role, path and settings. There is
 * one connection: inside an open transaction the same tenant joins it, and another tenant is refused, because it would wait
 * for ever.
 */
export function pgliteTenantClient(connection: PgliteConnection, session: PgliteSession): object {
  const query: PgliteQuery = async (...statement) => {
    const { isLasting } = check(session, statement)
    const joined = await connection.joinable(session.tenantId)
    if (joined !== undefined) return send(joined, session, statement)
    if (!isLasting) return connection.statement(session.tenantId, session.lead, () => checked(session, statement))
    return connection.transaction(session.tenantId, session.lead, (open) => send(open, session, statement))
  }
  const transaction = async <T>(work: (transaction: object) => Promise<T>): Promise<T> => {
    session.guard()
    const joined = await connection.joinable(session.tenantId)
    if (joined !== undefined) return joined.nest((inner) => work(facade(inner, session)))
    return connection.transaction(session.tenantId, session.lead, async (open) => {
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
    begin: async () => connection.hold(session.tenantId, session.lead),
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
    check(session, statement)
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

function facade(open: OpenTransaction, session: PgliteSession): object {
  const query: PgliteQuery = async (...statement) => {
    check(session, statement)
    return send(open, session, statement)
  }
  return Object.freeze({ query })
}

/** Sends a statement that was checked when it was handed over. */
async function send(open: OpenTransaction, session: PgliteSession, statement: Parameters<PgliteQuery>) {
  const { again } = session
  const scoped = checked(session, statement)
  // Before every statement, with nothing in between: the one before may have changed the role.
  return again === undefined ? open.query(...scoped) : open.queryAfter(`${SERVING_NOW};${again}`, ...scoped)
}

/** The statement as it is sent, now. */
function checked(session: PgliteSession, [text, ...rest]: Parameters<PgliteQuery>): Parameters<PgliteQuery> {
  session.guard('send')
  session.onStatement?.(text)
  return [session.scopeText(text), ...rest]
}

interface Checked {
  /** Whether it is seen to leave something in the session, or may commit half-way. */
  readonly isLasting: boolean
}

/** Refuses before anything is sent. */
function check(session: PgliteSession, [text, values = []]: Parameters<PgliteQuery>): Checked {
  session.guard()
  const statement = statementKind(text)
  const isPlain = statement.kind === 'plain' && statement.changes === undefined
  const sets = SETS.test(text)
  const refusal = refusalOf(text, statement) ?? (isPlain && !sets ? undefined : stopping([text, ...values]))
  if (refusal !== undefined) throw tenancyError('TENANCY_ERR_STATEMENT_REFUSED', [refusal])
  return { isLasting: !isPlain || sets }
}

/** Of every statement, so it must be quick. */
const SETS = /set_config|pg_settings/i
/** PGlite waits for the signal of one that has passed, and never hears it. */
const TIMEOUT = /\b(?:idle_in_transaction_session|idle_session|transaction)_timeout\b/i

/** What of a statement that changes settings, as one of `said`, would stop the process. */
function stopping(said: readonly unknown[]): string | undefined {
  if (!said.some((one) => typeof one === 'string' && TIMEOUT.test(one))) return undefined
  return 'a timeout, which would stop the process of an embedded database'
}

function refusalOf(text: string, statement: StatementKind): string | undefined {
  if (statement.kind === 'refused') return statement.what
  // All of it is the library's: after a raw COMMIT the scope would be gone.
  if (statement.kind !== 'plain' && statement.kind !== 'procedure') return 'transaction control; use `transaction()`'
  const keyword = leadingKeyword(text)
  // Nobody would ever feed COPY FROM STDIN, and PGlite never comes back from it.
  if (keyword === 'copy') return 'COPY on an embedded database'
  if (keyword !== 'set') return undefined
  const settings = settingsIn(text)
  if (settings === undefined || USER.test(settings)) return 'SET SESSION AUTHORIZATION'
  return stopping([settings])
}

/** What changes the session's user. */
const USER = /\bsession[ _]authorization\b/

/** The words and names of a SET; undefined where one has escapes (`U&"…"`), which are not read here. */
function settingsIn(text: string): string | undefined {
  const tokens = tokenize(text)
  if (tokens.some(({ kind }) => kind === 'unicode-identifier')) return undefined
  const names = tokens.filter(({ kind }) => kind === 'word' || kind === 'quoted-identifier')
  return names.map((name) => name.text.toLowerCase()).join(' ')
}
