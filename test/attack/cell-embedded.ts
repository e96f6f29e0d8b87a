import { sql } from 'drizzle-orm'
import { type CellAttempt, type CellOperation, SEEDED_IDS } from './cell-attempt.ts'
import { insert, titles, Undo, undone } from './cell-steps.ts'
import { codeOf } from './operation.ts'

const needs = 'one connection'

/** What a statement can leave in the session that the next tenant's statement is sent in. */
const LEFT_BEHIND = [
  'set search_path to pg_catalog',
  `set search_path to ''`,
  'set default_transaction_read_only to on',
  `select set_config('default_transaction_read_only', 'on', false)`,
  `select set_config('search_path', 'pg_catalog', false)`,
  `select set_config('role', 'none', false)`,
  `select set_config('app.current_tenant', '', false)`,
  'set row_security to off',
  `set client_encoding to 'LATIN1'`,
  `set datestyle to 'German'`,
  'set standard_conforming_strings to off',
  'reset role',
  'reset all',
  'prepare left_behind as select title from books',
  'declare left_behind cursor with hold for select title from books',
  'listen left_behind',
  'create temporary table books (id int, title text)',
  'select pg_advisory_lock(1)',
  'do $$ begin set search_path to pg_catalog; end $$',
]

/** What would read it, and must not. */
const PICKED_UP = ['execute left_behind', 'fetch all from left_behind', 'select title from pg_temp.books']

/** What tenants do to each other who have one connection in all. */
export const cellEmbedded: readonly CellOperation[] = [
  {
    name: 'session that is left in disorder',
    weight: 4,
    needs,
    run: async (at) => {
      // Refused or done, it is nothing to whoever comes next.
      await raw(at, at.random.pick(LEFT_BEHIND)).catch(() => {})
      at.saw(await titles(at, at.db), SEEDED_IDS.length)
    },
  },
  {
    name: 'what somebody left in the session',
    weight: 2,
    needs,
    fails: true,
    run: (at) => raw(at, at.random.pick(PICKED_UP)),
  },
  {
    name: 'calls of a transaction’s own tenant, which join it',
    weight: 4,
    needs,
    run: async (at) => {
      const work = at.db.transaction(async (tx) => {
        await insert(at, at.db)
        const nested = at.db.transaction(async (inner) => {
          await insert(at, inner)
          throw new Undo()
        })
        await nested.catch(undone)
        at.saw(await titles(at, at.db), SEEDED_IDS.length)
        await tx.delete(at.opened.model.books)
        throw new Undo()
      })
      await work.catch(undone)
      at.undone()
    },
  },
  {
    name: 'somebody else’s statements inside of a transaction, refused at once',
    weight: 4,
    needs,
    run: async (at) => {
      if (at.stranger.marker === at.marker) return
      const { books } = at.opened.model
      const work = at.db.transaction(async (tx) => {
        await insert(at, tx)
        for (const theirs of [
          () => titles(at, at.stranger.db),
          () => at.stranger.db.delete(books),
          () => at.stranger.db.transaction((other) => titles(at, other)),
        ]) {
          const code = await at.as(at.stranger, async () => theirs()).then(() => 'an answer', codeOf)
          if (code !== 'TENANCY_ERR_TRANSACTION_BUSY') at.report(`it was ${code}`)
        }
        at.saw(await titles(at, tx), SEEDED_IDS.length)
        throw new Undo()
      })
      await work.catch(undone)
      at.undone()
    },
  },
]

const raw = (at: CellAttempt, text: string) => at.opened.rows(at.db, sql.raw(text))
