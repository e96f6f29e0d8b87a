import type { SQL } from 'drizzle-orm'
import type { NodePgDatabase } from 'drizzle-orm/node-postgres'
import type { DatabaseServer } from '../../src/contracts/dialect.ts'
import type { IsolationStrategy, Scope } from '../../src/contracts/isolation.ts'
import type { Model, ModelStatements } from './models/model.ts'

/**
 * A database of Drizzle in the types of PostgreSQL: the builders of all databases have the same shape where the cases use
 * them.
 */
export type Db = NodePgDatabase

/** What only some databases have, or Drizzle for them. */
export type Feature =
  | 'returning'
  | 'update from'
  | 'relational'
  | 'relational one'
  | 'lock'
  | 'isolation level'
  | 'batch'
  | 'iterator'
  /** There is one connection in all: a call inside of a transaction joins it, and is refused where it is another tenant's. */
  | 'one connection'
  /** Statements and transactions are synchronous calls, and a request has no transaction. */
  | 'synchronous'

/** A transaction of it. */
export type Tx = Parameters<Parameters<Db['transaction']>[0]>[0]

/** What a statement can be sent on. */
export type Runner = Db | Tx

/** The part of relational queries that both versions of Drizzle write alike. */
export interface RelationalDb {
  readonly query: {
    readonly authors: { findMany(options: object): Promise<readonly { name: string; books: readonly Book[] }[]> }
    readonly books: { findFirst(options: object): Promise<{ title: string; author: { name: string } } | undefined> }
  }
  transaction<T>(work: (tx: RelationalDb) => Promise<T>): Promise<T>
}

/** A row of `books`. */
export interface Book {
  readonly id: number
  readonly authorId: number
  readonly title: string
  readonly price: number
}

/** One strategy on one database, opened. */
export interface OpenCell {
  readonly server: DatabaseServer
  /** The URL of the serving account, or the folder: where a scoping that is wrong on purpose can be put beside. */
  readonly place?: string
  readonly model: Model
  readonly statements: ModelStatements
  /** The driver's own Drizzle over a client of the server. */
  drizzle(client: object): Db
  /** The same with the relations of the model, in the form of the version at hand. */
  relational(client: object): RelationalDb
  /** Runs raw SQL and gives its rows. */
  rows(db: Runner, query: SQL): Promise<readonly Record<string, unknown>[]>
  /** Inserts a book, or gives the one with its id a new title and price. */
  upsert(db: Runner, book: Book): Promise<unknown>
  /** Kills or cancels a connection of the serving pool, where there is one; whether it found any. */
  disturb?(): Promise<boolean>
  /** Runs a statement that the database stops because it takes too long, where it does. */
  tooLong?(db: Db): Promise<unknown>
  /** Whether such a kill explains this error, so that nobody knows what was done. */
  isDisturbance?(error: unknown): boolean
  /** Whether the database undid this work because it and another waited for each other. */
  gaveWay?(error: unknown): boolean
  close(): Promise<void>
}

/** One strategy on one database. */
export interface Cell {
  readonly name: string
  readonly strategy: IsolationStrategy
  /** Whether unqualified names in raw SQL are the tenant's; where they are written into the text they are nobody's. */
  readonly unqualified: 'own' | 'nobody'
  readonly features: readonly Feature[]
  open(): Promise<OpenCell>
}

/** A tenant of a cell. */
export interface CellTenant {
  readonly name: string
  readonly scope: Scope
  readonly db: Db
}
