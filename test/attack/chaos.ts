import { Client } from 'pg'
import type { TestDatabase } from '../servers/database.ts'
import type { Random } from './random.ts'

/** What a superuser did to the backends of the serving role meanwhile. */
export interface Chaos {
  readonly cancelled: number
  readonly killed: number
  stop(): Promise<void>
}

/** Cancels and kills backends of this database's serving role, at random, every `everyMs`. */
export async function startChaos(database: TestDatabase, random: Random, everyMs: number): Promise<Chaos> {
  const client = new Client({ connectionString: database.superUrl })
  await client.connect()
  let [cancelled, killed] = [0, 0]
  const ending = new AbortController()
  const mine = `select pid from pg_stat_activity where usename = '${database.appRole}' and datname = current_database()`
  const strike = async () => {
    const kill = random.chance(0.4)
    const verb = kill ? 'pg_terminate_backend' : 'pg_cancel_backend'
    const prey = kill ? mine : `${mine} and state = 'active'`
    const { rowCount } = await client.query(`select ${verb}(pid) from (${prey} order by random() limit 1) prey`)
    if (kill) killed += rowCount ?? 0
    else cancelled += rowCount ?? 0
  }
  const running = (async () => {
    while (!ending.signal.aborted) {
      await new Promise((done) => setTimeout(done, everyMs))
      await strike()
    }
  })()
  return {
    get cancelled() {
      return cancelled
    },
    get killed() {
      return killed
    },
    async stop() {
      ending.abort()
      await running
      await client.end()
    },
  }
}
