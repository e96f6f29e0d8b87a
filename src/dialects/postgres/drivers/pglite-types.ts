/** The parts of PGlite that this folder uses, described structurally. Run with 0.5.8 and 0.5.16. */

/** A result; Drizzle maps `rows`. */
export interface PgliteResult {
  readonly rows: unknown[]
  readonly affectedRows?: number
}

/** Options of `query`: row mode and parsers, handed on as they come. */
export type PgliteQueryOptions = Readonly<Record<string, unknown>> & {
  readonly serializers?: Serializers
  readonly parsers?: Parsers
  readonly paramTypes?: number[]
}

/** One statement with its parameters. */
export type PgliteQuery = (
  text: string,
  parameters?: readonly unknown[],
  options?: PgliteQueryOptions,
) => Promise<PgliteResult>

/** By the OID of the type. */
type Serializers = Readonly<Record<number, (value: unknown) => string>>
type Parsers = Record<number, (value: string, type?: number) => unknown>

/** What PostgreSQL says; `name` is the message's name in the protocol. An error is an Error with its SQLSTATE as `code`. */
export interface PgliteMessage {
  readonly name: string
  /** The tag of a `commandComplete`. */
  readonly text?: string
  /** The SQLSTATE of an error. */
  readonly code?: string | undefined
}

/** One embedded database: one connection. */
export interface Pglite {
  readonly parsers: Parsers
  readonly serializers: Serializers
  execProtocolStream(
    message: Uint8Array,
    options: { readonly syncToFs: boolean; readonly throwOnError: boolean },
  ): Promise<PgliteMessage[]>
  exec(text: string): Promise<unknown>
  close(): Promise<void>
}

/** What the package exports, and this folder uses. */
export interface PgliteModule {
  readonly PGlite: { create(folder?: string): Promise<Pglite> }
  readonly parse: {
    parseResults(messages: readonly PgliteMessage[], parsers: Parsers, options?: PgliteQueryOptions): PgliteResult[]
    parseDescribeStatementResults(messages: readonly PgliteMessage[]): readonly number[]
  }
}
