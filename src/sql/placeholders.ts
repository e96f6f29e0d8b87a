import { blockCommentEnd, isLineComment, lineEnd, NOT_FOUND, quotedEnd } from './characters.ts'
import type { SqlProfile } from './profile.ts'

/** Where something may begin that hides a question mark, and the question marks themselves. */
const INTERESTING = /[?'"`#/-]/g

/** The offsets of the `?` of a statement, in order; never one inside a string, a comment or a quoted name. Linear time. */
export function placeholdersOf(sql: string, profile: SqlProfile): number[] {
  const places: number[] = []
  INTERESTING.lastIndex = 0
  for (let found = INTERESTING.exec(sql); found !== null; found = INTERESTING.exec(sql)) {
    const at = found.index
    if (found[0] === '?') places.push(at)
    const end = hidingEnd(sql, at, found[0], profile)
    if (end === NOT_FOUND) break
    INTERESTING.lastIndex = end
  }
  return places
}

/** The offset after the string, quoted name or comment that begins at `at`; -1 when it is not closed. */
function hidingEnd(sql: string, at: number, character: string, profile: SqlProfile): number {
  const close = profile.nameQuotes[character]
  if (close !== undefined) return quotedEnd(sql, at + 1, close, false)
  if (profile.stringQuotes.includes(character)) {
    return quotedEnd(sql, at + 1, character, profile.backslashes === 'always')
  }
  if (isLineComment(sql, at, profile)) return lineEnd(sql, at, profile)
  return sql.startsWith('/*', at) ? blockCommentEnd(sql, at, profile) : at + 1
}
