import { DdlRefusal } from '../../contracts/migrator.ts'
import { type Lexeme, lexemesOf, reads, splitStatements } from './lexemes.ts'
import type { Dialect, Edit } from './reader.ts'
import { readStatement } from './statements.ts'

const HANDLER = 'exception when duplicate_object then null ; end'.split(' ')

/**
 * The one block that drizzle-kit wrote before 0.25: `DO $$ BEGIN …; EXCEPTION WHEN duplicate_object THEN null; END $$`.
 * `undefined` for what is no block.
 * @throws DdlRefusal for any other block: what it would run cannot be known
 */
export function readBlock(statement: readonly Lexeme[], dialect: Dialect): readonly Edit[] | undefined {
  const [verb, body, ...rest] = statement
  if (verb?.word !== 'do') return undefined
  const delimiter = /^\$\w*\$/.exec(body?.text ?? '')?.[0]
  const refusal = new DdlRefusal('a DO block other than those that drizzle-kit wrote: write plain statements')
  if (body === undefined || delimiter === undefined || rest.length > 0) throw refusal
  const inner = lexemesOf(body.text.slice(delimiter.length, -delimiter.length), dialect.profile)
  const handled = inner.length - HANDLER.length - (inner.at(-1)?.word === ';' ? 1 : 0)
  if (!reads(inner, 0, 'begin') || !reads(inner, handled, ...HANDLER)) throw refusal
  const offset = body.start + delimiter.length
  return splitStatements(inner.slice(1, handled))
    .flatMap((one) => {
      if (!['create', 'alter'].includes(one[0]?.word ?? '')) throw refusal
      return readStatement(one, dialect)
    })
    .map(({ start, end, write }) => ({ start: start + offset, end: end + offset, write }))
}
