import { describe, expect, it } from 'vitest'
import { mysqlProfile } from '../../src/dialects/mysql/profile.ts'
import { placeholdersOf } from '../../src/sql/placeholders.ts'

const shown = (sql: string) => {
  let text = sql
  for (const at of placeholdersOf(sql, mysqlProfile).toReversed()) text = `${text.slice(0, at)}§${text.slice(at + 1)}`
  return text
}

describe('placeholders', () => {
  it.each([
    ['select ?, ?', 'select §, §'],
    ['', ''],
    ['?', '§'],
    [`'?' "?" \`?\` ?`, `'?' "?" \`?\` §`],
    [`'it''s ?' ? 'a\\'?' ?`, `'it''s ?' § 'a\\'?' §`],
    ['`a\\` ? `?`', '`a\\` § `?`'],
    ['"a""?" ?', '"a""?" §'],
    ['/* ? */ ? /*+ ? */ ? /*! ? */ ?', '/* ? */ § /*+ ? */ § /*! ? */ §'],
    ['/* /* ? */ ?', '/* /* ? */ §'],
    ['? -- ?\n ? --?', '§ -- ?\n § --§'],
    ['? # ?\n ?', '§ # ?\n §'],
    ['1 - ? / ? -', '1 - § / § -'],
    [`? 'not closed ?`, `§ 'not closed ?`],
    ['? /* not closed ?', '§ /* not closed ?'],
  ])('%j', (sql, expected) => expect(shown(sql)).toBe(expected))

  it('take linear time', () => {
    for (const piece of ['?', "'?'", '-', '/', '/*', '#\n', '`', "''", '\\']) {
      const started = process.cpuUsage().user
      placeholdersOf(piece.repeat(200_000), mysqlProfile)
      expect((process.cpuUsage().user - started) / 1000, piece).toBeLessThan(1000)
    }
  })
})
