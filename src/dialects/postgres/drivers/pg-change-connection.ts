import { randomUUID } from 'node:crypto'
import type { ConnectChannel } from '../../../contracts/changes.ts'
import { tenancyError } from '../../../errors.ts'
import { inTime } from '../../../util/in-time.ts'
import type { PgListener, PgModule } from './pg-types.ts'

/** Where changes are told. */
export interface PgChangeOptions {
  /** Leads to the database itself: behind a pooler nobody hears anything. */
  readonly url: string
  /** Gives the name of the channel as `channel`: it is a secret of the registry, and of another one after that was replaced. */
  readonly channelQuery: string
}

const PATIENCE_MS = 2000
/** Says that we hear what others say. */
const PROOF = 'proof'
/** Every so many beats a message is sent; the others only ask. Each message wakes all who listen in the database. */
const MESSAGE_EVERY = 20

/** A connection of its own that LISTENs. The database itself announces, in the transaction of each writer. */
export function connectPgChanges(pg: () => PgModule, { url, channelQuery }: PgChangeOptions): ConnectChannel {
  return async ({ changed, heard, lost }) => {
    const client = newClient(pg(), url)
    const self = randomUUID()
    let name: string
    const notify = (by: PgListener, message: string) => by.query('select pg_catalog.pg_notify($1, $2)', [name, message])
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
      name = await inTime(channelName(client, channelQuery), PATIENCE_MS, silent)
      await client.query(`listen "${name.replaceAll('"', '""')}"`)
      // By another connection: a pooler hands us what we say ourselves, and nothing that others say.
      await withClient(newClient(pg(), url), (other) => notify(other, `${self} ${PROOF}`))
      await inTime(proven, PATIENCE_MS, silent)
    } catch (error) {
      cut(client)
      throw error
    }
    let beats = 0
    let under = false
    /** The latest beat that came while one was under way: a connection takes one statement at a time. */
    let next: number | undefined
    const beat = (number: number): void => {
      if (under) {
        next = number
        return
      }
      under = true
      next = undefined
      const isMessage = ++beats % MESSAGE_EVERY === 0
      const sent = isMessage ? notify(client, `${self} ${number}`) : client.query('select 1')
      sent.then(() => answered(number, isMessage), lost)
    }
    const answered = (number: number, isMessage: boolean): void => {
      under = false
      if (!isMessage) heard(number)
      if (next !== undefined) beat(next)
    }
    return Object.freeze({
      beat,
      announce() {},
      close: () => cut(client),
    })
  }
}

const silent = () => tenancyError('TENANCY_ERR_DATABASE_UNAVAILABLE')

async function channelName(client: PgListener, query: string): Promise<string> {
  const [row] = (await client.query(query, [])).rows as { readonly channel: string }[]
  if (row === undefined) throw silent()
  return row.channel
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
    await inTime(work(client), PATIENCE_MS, silent)
  } finally {
    cut(client)
  }
}

function cut(client: PgListener): void {
  client.connection.stream.destroy()
}
