import { randomUUID } from 'node:crypto'
import type { ConnectChannel } from '../../../contracts/changes.ts'
import { tenancyError } from '../../../errors.ts'
import { inTime } from '../../../util/in-time.ts'
import type { PgListener, PgModule } from './pg-types.ts'

/** Where changes are told. */
export interface PgChangeOptions {
  /** Leads to the database itself: behind a pooler nobody hears anything. */
  readonly url: string
  /** The name of the channel, at most 63 bytes. */
  readonly name: string
}

const PATIENCE_MS = 2000
/** Says that we hear what others say. */
const PROOF = 'proof'
/** Every so many beats a message is sent; the others only ask. Each message wakes all who listen in the database. */
const MESSAGE_EVERY = 20

/** A connection of its own that LISTENs. The database itself announces, in the transaction of each writer. */
export function connectPgChanges(pg: () => PgModule, { url, name }: PgChangeOptions): ConnectChannel {
  const notify = (by: PgListener, message: string) => by.query('select pg_catalog.pg_notify($1, $2)', [name, message])

  return async ({ changed, heard, lost }) => {
    const client = newClient(pg(), url)
    const self = randomUUID()
    let prove: () => void
    const proven = new Promise<void>((resolve) => (prove = resolve))
    client.on('end', lost)
    client.on('notification', ({ payload = '' }) => {
      const [kind, number] = payload.split(' ')
      if (kind === 'changed') changed(number ?? '')
      else if (kind === self && number === PROOF) prove()
      else if (kind === self) heard(Number(number))
    })
    try {
      await client.connect()
      await client.query(`listen "${name.replaceAll('"', '""')}"`)
      // By another connection: a pooler hands us what we say ourselves, and nothing that others say.
      await withClient(newClient(pg(), url), (other) => notify(other, `${self} ${PROOF}`))
      await inTime(proven, PATIENCE_MS, () => tenancyError('TENANCY_ERR_DATABASE_UNAVAILABLE'))
    } catch (error) {
      cut(client)
      throw error
    }
    let beats = 0
    return Object.freeze({
      beat(number: number) {
        const isMessage = ++beats % MESSAGE_EVERY === 0
        const sent = isMessage ? notify(client, `${self} ${number}`) : client.query('select 1')
        sent.then(() => isMessage || heard(number), lost)
      },
      announce() {},
      close: () => cut(client),
    })
  }
}

function newClient(pg: PgModule, url: string): PgListener {
  const client = new pg.Client({
    connectionString: url,
    connectionTimeoutMillis: PATIENCE_MS,
    application_name: 'fastify-tenancy changes',
  }) as PgListener
  // `end` follows, and what runs fails.
  client.on('error', () => {})
  return client
}

async function withClient(client: PgListener, work: (client: PgListener) => Promise<unknown>): Promise<void> {
  try {
    await client.connect()
    await inTime(work(client), PATIENCE_MS, () => tenancyError('TENANCY_ERR_DATABASE_UNAVAILABLE'))
  } finally {
    cut(client)
  }
}

function cut(client: PgListener): void {
  client.connection.stream.destroy()
}
