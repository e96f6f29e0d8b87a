import type pg from 'pg'
import Cursor from 'pg-cursor'
import QueryStream from 'pg-query-stream'
import type { Attempt, Operation } from './operation.ts'
import { SEEDED } from './schema.ts'

type Row = { owner: string }

const LONG = 'select owner from items, generate_series(1, 100) where id <= $1'

/** Lends a connection; whatever happens, it goes back. */
async function lent(attempt: Attempt, use: (client: pg.PoolClient) => Promise<void>): Promise<void> {
  const client = await attempt.client.connect()
  // pg-query-stream never ends when its connection dies while nobody reads: the client's own event has to tell.
  let listener: (error: Error) => void = () => {}
  const died = new Promise<never>((_, reject) => client.on('error', (listener = reject)))
  try {
    await Promise.race([use(client), died])
  } finally {
    client.removeListener('error', listener)
    client.release()
  }
}

const ownersOf = (rows: readonly Row[]) => rows.map(({ owner }) => owner)

/** What is done with a connection in hand, in the ways of pg itself. */
export const connections: readonly Operation[] = [
  {
    name: 'cursor closed early',
    weight: 3,
    run: (attempt) =>
      lent(attempt, async (client) => {
        const cursor = client.query(new Cursor<Row>(LONG, [SEEDED]))
        attempt.saw(ownersOf(await cursor.read(7)), 7)
        attempt.saw(ownersOf(await cursor.read(3)), 3)
        await cursor.close()
        attempt.saw(ownersOf((await client.query<Row>('select owner from items limit 3')).rows), SEEDED)
      }),
  },
  {
    name: 'cursor given back open',
    weight: 1,
    run: (attempt) =>
      lent(attempt, async (client) => {
        const cursor = client.query(new Cursor<Row>(LONG, [SEEDED]))
        attempt.saw(ownersOf(await cursor.read(2)), 2)
      }),
  },
  {
    name: 'cursor that fails',
    weight: 1,
    fails: ['22012'],
    run: (attempt) =>
      lent(attempt, async (client) => {
        await client.query(new Cursor<Row>('select 1 / (id - id) from items')).read(2)
      }),
  },
  {
    name: 'cursor in a transaction',
    weight: 2,
    run: (attempt) =>
      lent(attempt, async (client) => {
        await client.query('begin')
        const cursor = client.query(new Cursor<Row>(LONG, [SEEDED]))
        attempt.saw(ownersOf(await cursor.read(5)), 5)
        await cursor.close()
        attempt.saw(ownersOf((await client.query<Row>('select owner from items limit 3')).rows), SEEDED)
        await client.query('rollback')
      }),
  },
  {
    name: 'stream to its end',
    weight: 2,
    run: (attempt) =>
      lent(attempt, async (client) => {
        const rows: Row[] = []
        for await (const row of client.query(new QueryStream(LONG, [SEEDED], { batchSize: 50 }))) rows.push(row as Row)
        attempt.saw(ownersOf(rows), SEEDED * 100)
      }),
  },
  {
    name: 'stream left in the middle',
    weight: 2,
    run: (attempt) =>
      lent(attempt, async (client) => {
        const rows: Row[] = []
        for await (const row of client.query(new QueryStream(LONG, [SEEDED], { batchSize: 10 }))) {
          rows.push(row as Row)
          if (rows.length === 15) break
        }
        attempt.saw(ownersOf(rows), 15)
      }),
  },
  {
    name: 'connection given back with a statement under way',
    weight: 2,
    run: (attempt) =>
      lent(attempt, async (client) => {
        const ref = attempt.newRef()
        const insert = client.query<Row>('insert into items (ref) values ($1) returning owner', [ref])
        attempt.drop(
          insert.then(({ rows }) => attempt.saw(ownersOf(rows), 1)).then(() => attempt.ledger.committed(ref)),
        )
        attempt.drop(client.query('select pg_sleep(0.002)'))
        if (attempt.random.chance(0.5)) await new Promise(setImmediate)
      }),
  },
  {
    name: 'connection given back in a transaction',
    weight: 2,
    run: (attempt) =>
      lent(attempt, async (client) => {
        await client.query('begin')
        const ref = attempt.newRef()
        const { rows } = await client.query<Row>('insert into items (ref) values ($1) returning owner', [ref])
        attempt.saw(ownersOf(rows), 1)
        attempt.ledger.refused(ref)
      }),
  },
  {
    name: 'statements side by side on one connection',
    weight: 2,
    run: (attempt) =>
      lent(attempt, async (client) => {
        const results = await Promise.all(
          [1, 2, 3].map((id) => client.query<Row>('select owner from items where id = $1', [id])),
        )
        attempt.saw(
          results.flatMap(({ rows }) => ownersOf(rows)),
          SEEDED,
        )
      }),
  },
  {
    name: 'statements after release',
    weight: 1,
    fails: ['TENANCY_ERR_TRANSACTION_FINISHED'],
    run: async (attempt) => {
      const client = await attempt.client.connect()
      client.release()
      const { rows } = await client.query<Row>('select owner from items')
      attempt.report(`a connection that was given back read ${rows.length} rows`)
    },
  },
  {
    name: 'callbacks',
    weight: 2,
    run: (attempt) =>
      new Promise<void>((resolve, reject) => {
        attempt.client.connect((failure, client, release) => {
          if (client === undefined) return reject(failure as Error)
          client.query<Row>('select owner from items limit 3', (error, result) => {
            release()
            if (error) return reject(error)
            attempt.saw(ownersOf(result.rows), SEEDED)
            resolve()
          })
        })
      }),
  },
]
