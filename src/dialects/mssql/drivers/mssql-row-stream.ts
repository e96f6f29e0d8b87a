import { Readable } from 'node:stream'
import { currentContext, enterContext } from '../../../context.ts'
import type { MssqlRequest } from './mssql-types.ts'

/** Where rows come from. */
export type RowSource = Pick<MssqlRequest, 'pause' | 'resume' | 'cancel'>

/** Options of a stream. */
export interface StreamOptions {
  readonly highWaterMark?: number
}

/** The rows of one statement, one by one. mssql's own stream would lead to the connection. */
export class RowStream {
  /** What the caller reads; its listeners run in the caller's context. */
  readonly rows: Readable
  readonly #context = currentContext()
  #source: RowSource | undefined

  constructor({ highWaterMark }: StreamOptions = {}) {
    this.rows = new Readable({
      objectMode: true,
      ...(highWaterMark !== undefined && { highWaterMark }),
      read: () => this.#source?.resume(),
      destroy: (error, done) => {
        this.#source?.cancel()
        done(error)
      },
    })
    // Rows that somebody stopped reading must not end the process when their connection dies.
    this.rows.on('error', () => {})
  }

  /** Where the rows come from. While nobody reads them it is paused. */
  set source(source: RowSource | undefined) {
    this.#source = source
    if (this.rows.destroyed) source?.cancel()
  }

  /** Takes a row of the source. */
  readonly take = (row: unknown): void => {
    if (!this.rows.destroyed && !enterContext(this.#context, () => this.rows.push(row))) this.#source?.pause()
  }

  /** Ends the rows, with a failure if there is one. */
  end(failure?: unknown): void {
    this.#source = undefined
    if (this.rows.destroyed) return
    enterContext(this.#context, () => {
      if (failure === undefined) this.rows.push(null)
      else this.rows.destroy(failure as Error)
    })
  }
}
