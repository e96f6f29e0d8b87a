import { tenancyError } from '../../../errors.ts'
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
const isRead = has('parameterDescription')
const isExecuted = has('commandComplete', 'emptyQuery')
const isBound = has('bindComplete')
/** What was not bound is answered as an empty statement. */
const isDone: Whole = (answer) => isBound(answer) && isExecuted(answer)

/** Makes a {@link PgliteWire}; nobody else uses `pglite` from now on, and one call is made after the other. */
export function createPgliteWire(pglite: Pglite, { protocol, parse }: PgliteModule): PgliteWire {
  const { serialize } = protocol
  let broken: unknown

  /** @param wholes of each answer, unless there is an error, or none is needed; the last is followed by no READY where `open` */
  const exchange = async (
    messages: readonly Uint8Array[],
    wholes: readonly Whole[] | undefined,
    { flush = false, open = false } = {},
  ): Promise<PgliteMessage[]> => {
    if (broken !== undefined) throw gone(broken)
    try {
      const options = { syncToFs: flush, throwOnError: false }
      const answer = await pglite.execProtocolStream(Buffer.concat(messages), options)
      const parts = answersOf(answer, open)
      // After an error PGlite 0.5.8 is READY more often than 0.5.16.
      if (wholes === undefined || isRefused(answer)) return answer
      if (parts.length === wholes.length && wholes.every((isWhole, i) => isWhole(parts[i] ?? []))) return answer
      throw new TypeError(`The embedded database answered ${answer.map(({ name }) => name).join(', ') || 'nothing'}.`)
    } catch (error) {
      // Its code stopped half-way, where no stack is left, say. PGlite may hide that; what a next call would do nobody knows.
      broken = error
      throw gone(error)
    }
  }
  /** Makes it take statements again after one that was not executed; 0.5.8 does of itself. */
  const skip = () => exchange([serialize.sync()], undefined)

  return Object.freeze({
    async statement(lead, flush, text, parameters = [], options = {}) {
      const said = await exchange(
        [
          ...lead.map((one) => serialize.query(one)),
          serialize.parse({ text, types: options.paramTypes }),
          serialize.describe({ type: 'S' }),
        ],
        [...lead.map(() => isExecuted), isRead],
        { open: true },
      )
      const types = parse.parseDescribeStatementResults(said)
      let bound: Uint8Array
      try {
        refuse(said)
        const values = parameters.map((value, i) => {
          if (value === null || value === undefined) return null
          const type = types[i] ?? 0
          return (options.serializers?.[type] ?? pglite.serializers[type] ?? String)(value)
        })
        bound = serialize.bind({ values })
      } catch (error) {
        await skip()
        throw error
      }
      const answer = await exchange([bound, serialize.execute({}), serialize.sync()], [isDone], { flush })
      refuse(answer)
      const described = said.filter(({ name }) => name === 'rowDescription')
      const [result] = parse.parseResults([...described, ...answer], pglite.parsers, options)
      return result as PgliteResult
    },

    async texts(texts) {
      const messages = texts.map((text) => serialize.query(text))
      const answer = await exchange(
        messages,
        texts.map(() => isExecuted),
      )
      refuse(answer)
      return parse.parseResults(answer, pglite.parsers)
    },

    async end(how) {
      const answer = await exchange([serialize.query(how)], [isExecuted], { flush: true })
      refuse(answer)
      return answer.find(({ name }) => name === 'commandComplete')?.text
    },
  } satisfies PgliteWire)
}

/** The messages by the answer that they belong to; READY, which is the last of each, is one of them. */
function answersOf(messages: readonly PgliteMessage[], open: boolean): PgliteMessage[][] {
  const answers: PgliteMessage[][] = [[]]
  for (const message of messages) {
    answers.at(-1)?.push(message)
    if (message.name === READY) answers.push([])
  }
  if (!open && answers.at(-1)?.length === 0) answers.pop()
  return answers
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
