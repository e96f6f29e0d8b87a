import { tenancyError } from '../../../errors.ts'
import { bind, DESCRIBE, EXECUTE, parse, query, SYNC, type WireValue } from './pglite-messages.ts'
import type { Pglite, PgliteMessage, PgliteModule, PgliteQuery, PgliteResult } from './pglite-types.ts'

/** What is said to the session before a statement, each text in a message of its own. */
export type Lead = readonly string[]

/** The session of an embedded database, by its protocol: what PGlite's own `query` makes six calls of are two here. */
export interface PgliteWire {
  /**
   * One statement behind its lead, with nothing in between. It is not executed unless all of the lead succeeded.
   * @param flush whether the data are on their way to the disk afterwards: it is no part of a transaction
   */
  statement(lead: Lead, flush: boolean, ...statement: Parameters<PgliteQuery>): Promise<PgliteResult>
  /** Texts without parameters, of one or several statements, each in a message of its own; the results of all. */
  texts(texts: Lead): Promise<readonly PgliteResult[]>
  /** Ends the transaction. @returns what PostgreSQL made of it: COMMIT of a failed one is a ROLLBACK */
  end(how: Ending): Promise<string | undefined>
}

/** How a transaction ends. */
export type Ending = 'commit' | 'rollback'

const ERROR = 'error'
const READY = 'readyForQuery'
/** Whether an answer is whole. */
type Whole = (answer: readonly PgliteMessage[]) => boolean

const has = (...names: string[]): Whole => {
  return (answer) => answer.some(({ name }) => names.includes(name))
}
const isRefused = has(ERROR)
const isParsed = has('parseComplete')
const isRead = has('parameterDescription')
const isExecuted = has('commandComplete', 'emptyQuery')
const isBound = has('bindComplete')
/** What was not bound is answered as an empty statement. */
const isDone: Whole = (answer) => isBound(answer) && isExecuted(answer)
/** SQLSTATE of a statement that is not there. */
const NO_STATEMENT = '26000'

/** Makes a {@link PgliteWire}; nobody else uses `pglite` from now on, and one call is made after the other. */
export function createPgliteWire(pglite: Pglite, { parse: results }: PgliteModule): PgliteWire {
  let broken: unknown

  const stop = (reason: unknown): never => {
    broken = reason
    throw gone(reason)
  }
  /** @param wholes of each answer, unless there is an error; the last is READY, unless it is `open` */
  const exchange = async (
    messages: readonly Uint8Array[],
    wholes: readonly Whole[],
    { flush = false, open = false } = {},
  ): Promise<PgliteMessage[]> => {
    if (broken !== undefined) throw gone(broken)
    let answer: PgliteMessage[]
    try {
      const options = { syncToFs: flush, throwOnError: false }
      answer = await pglite.execProtocolStream(Buffer.concat(messages), options)
    } catch (error) {
      return stop(error)
    }
    // Its code may have stopped half-way, where no stack is left, say, which PGlite hides; what a next call would do nobody knows.
    const parts = answersOf(answer)
    const isEnded = open || answer.at(-1)?.name === READY
    // After an error PGlite 0.5.8 is READY more often than 0.5.16.
    if (isEnded && isRefused(answer)) return answer
    const isWhole = parts.length === wholes.length && wholes.every((whole, i) => whole(parts[i] ?? []))
    if (isEnded && isWhole) return answer
    return stop(
      new TypeError(`The embedded database answered ${answer.map(({ name }) => name).join(', ') || 'nothing'}.`),
    )
  }
  /** Makes it take statements again after one that was not executed. */
  const skip = () => exchange([SYNC], [has(READY)])

  return Object.freeze({
    async statement(lead, flush, text, parameters = [], options = {}) {
      const said = await exchange(
        [...lead.map(query), parse(text, options.paramTypes), DESCRIBE],
        [...lead.map(() => isExecuted), isRead],
        { open: true },
      )
      const refusal = said.find(({ name }) => name === ERROR)
      // It is there, or was refused, unless it stopped while it was read.
      if (refusal?.code === NO_STATEMENT && !isParsed(said)) stop(refusal)
      const types = results.parseDescribeStatementResults(said)
      let bound: Uint8Array
      try {
        refuse(said)
        const serializerOf = (type: number) => options.serializers?.[type] ?? pglite.serializers[type] ?? String
        bound = bind(parameters.map((value, i) => wireValue(value, serializerOf(types[i] ?? 0))))
      } catch (error) {
        await skip()
        throw error
      }
      const answer = await exchange([bound, EXECUTE, SYNC], [isDone], { flush })
      refuse(answer)
      const described = said.filter(({ name }) => name === 'rowDescription')
      const { parsers, ...mode } = options
      // Were they handed on beside each other, PGlite would copy all of its own for this result, a tenth of a statement.
      const known = { __proto__: pglite.parsers, ...parsers }
      const [result] = results.parseResults([...described, ...answer], known, mode)
      return result as PgliteResult
    },

    async texts(texts) {
      const answer = await exchange(
        texts.map(query),
        texts.map(() => isExecuted),
      )
      refuse(answer)
      return results.parseResults(answer, pglite.parsers)
    },

    async end(how) {
      const answer = await exchange([query(how)], [isExecuted], { flush: true })
      refuse(answer)
      return answer.find(({ name }) => name === 'commandComplete')?.text
    },
  } satisfies PgliteWire)
}

/** The messages by the answer that they belong to; READY, which is the last of each, is one of them. */
function answersOf(messages: readonly PgliteMessage[]): PgliteMessage[][] {
  const answers: PgliteMessage[][] = []
  let isNew = true
  for (const message of messages) {
    if (isNew) answers.push([])
    answers.at(-1)?.push(message)
    isNew = message.name === READY
  }
  return answers
}

/** PGlite's serializers give back what they do not know, a number where an array belongs, say. */
function wireValue(value: unknown, serialize: (value: unknown) => unknown): WireValue {
  if (value === null || value === undefined) return null
  const given = serialize(value)
  if (typeof given === 'string') return given
  if (ArrayBuffer.isView(given)) return new Uint8Array(given.buffer, given.byteOffset, given.byteLength)
  if (given instanceof ArrayBuffer) return new Uint8Array(given)
  throw new TypeError(`A parameter has no text: the serializer of its type made ${typeof given} of ${typeof value}.`)
}

function refuse(answer: readonly PgliteMessage[]): void {
  const refusal = answer.find(({ name }) => name === ERROR)
  if (refusal !== undefined) throw refusal
}

function gone(cause: unknown): Error {
  return tenancyError(
    'TENANCY_ERR_DATABASE_UNAVAILABLE',
    [' stopped in the middle of a statement; start again.'],
    cause,
  )
}
