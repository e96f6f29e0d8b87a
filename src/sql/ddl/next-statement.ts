import type { Reader } from './reader.ts'

/** Reserved words that begin a statement, also right behind another where no semicolon is needed. */
const STATEMENTS = new Set(
  `alter backup begin bulk checkpoint commit create dbcc deny declare delete drop dump exec execute goto grant if insert kill
  load merge print raiserror readtext reconfigure restore return revert revoke rollback save set setuser shutdown truncate
  update updatetext use waitfor while writetext`.split(/\s+/),
)

/** Whether an unquoted word can be no name, because another statement begins with it. */
export function beginsStatement(word: string): boolean {
  return STATEMENTS.has(word)
}

/** Where statements need no semicolon, what comes next must be a part of this one. @throws DdlRefusal */
export function refuseNextStatement(reader: Reader): void {
  const word = reader.word()
  if (reader.profile.ddl.unseparated !== true || !STATEMENTS.has(word) || belongs(reader, word)) return
  reader.refuse(`${word.toUpperCase()} inside of a statement: end the one before it with a semicolon`)
}

/** `ON DELETE SET NULL` and `UPDATE … SET x = 1` are part of their statement. */
function belongs(reader: Reader, word: string): boolean {
  if (word === 'update' || word === 'delete') return reader.word(-1) === 'on'
  if (word !== 'set') return false
  if (reader.word(-2) === 'on' && (reader.is('set', 'null') || reader.is('set', 'default'))) return true
  const sign = reader.word(2)
  return sign === '=' || sign === '.' || (/^[-+*/%&|^]$/.test(sign) && reader.word(3) === '=')
}
