import { Readable } from 'node:stream'
import { currentContext, enterContext } from '../../../context.ts'
import type { Lease } from './mysql-lease.ts'
import type { MysqlStatement } from './mysql-types.ts'

/** Options of a stream. */
export interface StreamOptions {
  readonly highWaterMark?: number
}

/** The rows of one statement, one by one. mysql2's own stream would lead to the connection. */
export class RowStream {
  /** What the caller reads; its listeners run in the caller's context. */
  readonly rows: Readable
  readonly #context = currentContext()
  #source: Readable | undefined

  constructor({ highWaterMark }: StreamOptions = {}) {
    this.rows = new Readable({
      objectMode: true,
      ...(highWaterMark !== undefined && { highWaterMark }),
      read: () => this.flow(),
      destroy: (error, done) => {
        this.flow()
        done(error)
      },
    })
    // Rows that somebody stopped reading must not end the process when their connection dies.
    this.rows.on('error', () => {})
  }

  /** Ends the rows with `work`, or fails with it. */
  follow(work: Promise<void>): void {
    work.then(
      () => void this.#push(null),
      (error: Error) => void enterContext(this.#context, () => this.rows.destroy(error)),
    )
  }

  /** Lets the rows come, whoever takes them. */
  flow(): void {
    this.#source?.resume()
  }

  /** Reads the rows; settles when the connection is free. While somebody waits for it, rows that nobody takes pile up here. */
  async pump(lease: Lease, statement: MysqlStatement, isAwaited: () => boolean): Promise<void> {
    try {
      await new Promise<void>((resolve, reject) => {
        const source = lease.stream(statement, (failure) => (failure === undefined ? resolve() : reject(failure)))
        this.#source = source
        source.on('data', (row) => {
          if (!this.#push(row) && !isAwaited()) source.pause()
        })
      })
    } finally {
      this.#source = undefined
    }
  }

  #push(row: unknown): boolean {
    return this.rows.destroyed || enterContext(this.#context, () => this.rows.push(row))
  }
}
