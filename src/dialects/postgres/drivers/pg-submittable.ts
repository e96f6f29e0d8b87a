import { type TenancyContext, enterContext } from '../../../context.ts'
import type { Guard } from '../../../contracts/dialect.ts'
import { tenancyError } from '../../../errors.ts'
import { leadingKeyword } from '../lexer.ts'
import { statementKind } from '../statement-kind.ts'
import { changesSession } from './pg-session-commands.ts'
import { bytesAhead, type Lead, misplaced } from './pg-scoped-query.ts'
import type { PgClient, PgSubmittable } from './pg-types.ts'

/** What pg calls on a submittable as messages arrive. */
const HANDLERS = [
  'handleRowDescription',
  'handleDataRow',
  'handlePortalSuspended',
  'handleCommandComplete',
  'handleEmptyQuery',
  'handleReadyForQuery',
  'handleError',
] as const

/** Cursors and streams that were handed over. They keep what they were given, the first tenant's scope included. */
const used = new WeakSet<PgSubmittable>()

/**
 * Lets through what is a cursor or a stream over one plain statement, for its first use, with the tenant's names in it.
 * @throws TENANCY_ERR_STATEMENT_REFUSED
 */
export function assertSubmittable(submittable: PgSubmittable, scopeText: (text: string) => string): void {
  const refused = (what: string) => tenancyError('TENANCY_ERR_STATEMENT_REFUSED', [what])
  const holder = submittable.text === undefined ? submittable.cursor : submittable
  const text = holder?.text
  if (submittable.read === undefined || submittable.requiresPreparation !== undefined || typeof text !== 'string') {
    throw refused('only cursors and query streams can be submitted')
  }
  if (used.has(submittable)) throw refused('a cursor or stream is for one use; make a new one in each request')
  const statement = statementKind(text)
  const isRead = statement.kind === 'plain' && statement.changes === undefined && statement.locks === undefined
  if (!isRead || changesSession(leadingKeyword(text).toUpperCase())) {
    throw refused('a cursor or stream reads rows; send other statements as queries')
  }
  used.add(submittable)
  Reflect.set(holder as object, 'text', scopeText(text))
}

/** Asks before every further batch of rows too: each is a statement to the server. */
export function guardReads(submittable: PgSubmittable, guard: Guard): void {
  const cursor = submittable.text === undefined ? submittable.cursor : submittable
  const read: unknown = cursor?.read
  if (cursor === undefined || typeof read !== 'function') return
  Reflect.set(cursor, 'read', (...parameters: unknown[]): unknown => {
    try {
      guard()
    } catch (error) {
      const callback = parameters.at(-1)
      if (typeof callback !== 'function') return Promise.reject(error)
      queueMicrotask(() => Reflect.apply(callback, undefined, [error]))
      return undefined
    }
    return Reflect.apply(read, cursor, parameters)
  })
}

/** Makes everything that the submittable calls back run in `context`, and calls `ended` when its statement is over. */
export function bindSubmittable(
  submittable: PgSubmittable,
  context: TenancyContext | undefined,
  ended: () => void,
): void {
  for (const name of HANDLERS) {
    const handle: unknown = Reflect.get(submittable, name)
    if (typeof handle !== 'function') continue
    const last = name === 'handleReadyForQuery' || name === 'handleError'
    Reflect.set(submittable, name, (...parameters: unknown[]) => {
      if (last) ended()
      enterContext(context, () => Reflect.apply(handle, submittable, parameters))
    })
  }
}

/** Gives a cursor or stream its scope: what goes ahead is in the same flush and its answer is swallowed. */
export function scopeSubmittable(submittable: PgSubmittable, client: PgClient, lead: Lead): void {
  const submit = submittable.submit
  submittable.submit = (connection) => {
    const error = misplaced(client, lead)
    if (error !== undefined) return error
    const bytes = bytesAhead(client, lead)
    if (bytes === undefined) return submit.call(submittable, connection)
    swallowScopeAnswer(submittable)
    connection.stream.cork?.()
    try {
      connection._send(bytes)
      return submit.call(submittable, connection)
    } finally {
      connection.stream.uncork?.()
    }
  }
}

function swallowScopeAnswer(submittable: PgSubmittable): void {
  const own = { ...submittable }
  submittable.handleDataRow = () => {}
  submittable.handleCommandComplete = () => {
    // Back to what was there: a stream has its handlers as own properties, a cursor on its prototype.
    for (const name of ['handleDataRow', 'handleCommandComplete'] as const) {
      if (Object.hasOwn(own, name)) Reflect.set(submittable, name, own[name])
      else Reflect.deleteProperty(submittable, name)
    }
  }
}
