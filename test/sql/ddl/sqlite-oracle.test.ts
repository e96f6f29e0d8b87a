import { type Client, createClient } from '@libsql/client'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { sqliteProfile } from '../profiles.ts'
import { rendered } from './marked.ts'

/*
 * SQLite itself says which tables a statement opens. Beside the tenant's tables there are decoys without a prefix:
 * whatever is made of a statement, by chance, the rewriter must refuse it or must not let SQLite open one of them.
 */

const naming = { qualifier: [], prefix: 'tt__' }
const columns = { q1: 'a, q1, w', q2: 'b, q2, x', q3: 'c' }

const bases = [
  'SELECT a , b FROM q1 AS y JOIN q2 ON y . a = q2 . b , q3 WHERE a IN ( SELECT a FROM q1 )',
  'SELECT a FROM q1 WHERE a IN q3',
  'WITH z AS ( SELECT a AS e FROM q1 ) SELECT * FROM z , q2 ORDER BY b LIMIT 1',
  'WITH RECURSIVE z ( e ) AS ( SELECT a FROM q1 UNION ALL SELECT q2 . b FROM q2 , z WHERE z . e = q2 . b ) SELECT * FROM z',
  'INSERT INTO q1 ( a , w ) SELECT b , x FROM q2 WHERE true ON CONFLICT DO NOTHING RETURNING a',
  'INSERT INTO q1 ( a ) VALUES ( 1 ) , ( ( SELECT b FROM q2 ) )',
  'INSERT OR REPLACE INTO q1 AS y DEFAULT VALUES RETURNING ( SELECT b FROM q2 )',
  'REPLACE INTO q1 SELECT a , 1 , 2 FROM q1 , q2 AS over',
  'UPDATE q1 SET a = 1 , w = q2 . b FROM q2 , q3 AS y WHERE q1 . a = y . c',
  'UPDATE OR IGNORE q1 AS y SET ( a , w ) = ( SELECT b , x FROM q2 ) FROM q3 LEFT JOIN q2 ON b = c WHERE 1 RETURNING *',
  'DELETE FROM q1 WHERE EXISTS ( SELECT 1 FROM q2 y WHERE y . b = q1 . a ) RETURNING *',
  'SELECT 1 FROM ( SELECT a FROM q1 ) y LEFT JOIN ( q2 CROSS JOIN q3 ) ON 1 GROUP BY a , b HAVING a > 1 UNION SELECT b FROM q2 EXCEPT SELECT c FROM q3 ORDER BY 1',
  'SELECT sum ( a ) OVER z FROM q1 , q2 WINDOW z AS ( PARTITION BY a ORDER BY b ) , v AS ( ORDER BY b )',
  'SELECT CASE WHEN a THEN ( SELECT b FROM q2 ) END , cast ( a AS text ) , a IS NOT DISTINCT FROM b FROM q1 NATURAL JOIN q2',
  'SELECT * FROM q1 y , ( q2 JOIN q3 z ) , json_each ( a ) AS j , ( VALUES ( 1 ) ) WHERE 1 LIMIT 1 OFFSET 2',
  'SELECT ( a , w ) IN ( SELECT b , x FROM q2 ) , a NOT IN ( 1 ) , count ( * ) FILTER ( WHERE a IN ( SELECT 1 FROM q3 ) ) FROM q1 GROUP BY 1 , 2',
  'SELECT window , filter FROM ( SELECT a AS window , w AS filter FROM q1 ) , q2 WINDOW window AS ( ORDER BY ( SELECT c FROM q3 ) )',
].map((base) => base.split(' '))
const words =
  `q1 q2 q3 "q1" \`q2\` [q3] main . , ( ) in from join as on using with not select window set values indexed by natural
  left cross full over filter where limit offset group order union all lateral only table into returning is distinct like
  replace insert delete update exists recursive materialized 'q1' -- /* */ 1 w x a b c y z main.q1 except intersect having
  outer row if first nulls do conflict collate between`.split(/\s+/)

const place = fc.nat(60)
const mutation = fc.oneof(
  place.map((at) => (text: string[]) => void text.splice(at % text.length, 1)),
  fc.tuple(place, fc.constantFrom(...words)).map(
    ([at, word]) =>
      (text: string[]) =>
        void text.splice(at % text.length, 0, word),
  ),
  fc.tuple(place, fc.constantFrom(...words)).map(
    ([at, word]) =>
      (text: string[]) =>
        void text.splice(at % text.length, 1, word),
  ),
  fc
    .tuple(place, fc.nat(2), fc.constantFrom(...bases), place, fc.integer({ min: 1, max: 6 }))
    .map(([at, gone, other, from, count]) => (text: string[]) => {
      const start = from % other.length
      text.splice(at % text.length, gone, ...other.slice(start, start + count))
    }),
)
const statement = fc
  .tuple(fc.constantFrom(...bases), fc.array(mutation, { minLength: 1, maxLength: 2 }))
  .map(([base, mutations]) => {
    const text = [...base]
    for (const mutate of mutations) if (text.length > 0) mutate(text)
    return text.join(' ')
  })

describe('SQLite opens none but the tenant’s tables', () => {
  let client: Client
  let decoys: ReadonlySet<number>

  const opened = async (sql: string): Promise<number[] | undefined> => {
    const plan = await client.execute(`EXPLAIN ${sql}`).catch(() => undefined)
    return plan?.rows
      .filter(({ opcode }) => opcode === 'OpenRead' || opcode === 'OpenWrite' || opcode === 'ReopenIdx')
      .map(({ p2 }) => Number(p2))
  }

  beforeAll(async () => {
    client = createClient({ url: ':memory:' })
    for (const [table, list] of Object.entries(columns)) {
      await client.execute(`CREATE TABLE ${table} (${list})`)
      await client.execute(`CREATE TABLE ${naming.prefix}${table} (${list})`)
    }
    const { rows } = await client.execute(`SELECT rootpage FROM sqlite_master WHERE name LIKE 'q%'`)
    decoys = new Set(rows.map(({ rootpage }) => Number(rootpage)))
  })
  afterAll(() => client.close())

  it('would be seen to open a decoy', async () => {
    expect(decoys.size).toBe(3)
    const pages = (await opened('SELECT a FROM tt__q1 WHERE a IN q3')) ?? []
    expect(pages.some((page) => decoys.has(page))).toBe(true)
  })

  it('whatever is made of a statement', async () => {
    let understood = 0
    for (const sql of new Set(fc.sample(statement, 15_000))) {
      const written = rendered(sql, naming, sqliteProfile)
      if (written.startsWith('refused') || written === '') continue
      const pages = await opened(written)
      if (pages === undefined) continue
      understood++
      expect(
        pages.filter((page) => decoys.has(page)),
        `${sql} became ${written}`,
      ).toEqual([])
    }
    expect(understood).toBeGreaterThan(50)
  })
})
