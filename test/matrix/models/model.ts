import type * as postgres from './postgres.ts'

/** Statements of one migration, as drizzle-kit separates them. */
export type ModelStatements = readonly string[]

/**
 * The tables of a cell, in the types of PostgreSQL: the query builders of all databases have the same shape where the
 * cases use them, and no type that would fit them all.
 */
export type Model = Pick<typeof postgres, 'authors' | 'books' | 'cheapBooks'>
