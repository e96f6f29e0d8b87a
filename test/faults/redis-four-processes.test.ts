import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import type { TenancyOptions } from '../../src/index.ts'
import type { TestDatabase } from '../servers/database.ts'
import { startRedis } from '../servers/redis.ts'
import { describeWith } from '../servers/suite.ts'
import { baselineDatabase } from '../support/database.ts'
import { type AppProcess, startProcess } from './changes-processes.ts'

const PROCESSES = 4
const KILLS = 10
/** From here on nobody may be served any more, in milliseconds after the verb returned. */
const GRACE_MS = 1000

/** When a tenant was not to be served: from the end of the verb that suspended it to the beginning of the next one. */
interface Suspension {
  readonly from: number
  to: number
}

describeWith(['postgres18', 'redis'], 'four processes under load, Redis killed ten times', ({ postgres18 }) => {
  let database: TestDatabase
  beforeAll(async () => {
    database = await baselineDatabase(postgres18.url)
  })
  afterAll(() => database?.drop())

  it.each<NonNullable<TenancyOptions['changeChannel']>>(['redis', 'auto'])(
    '[W40] [W41] with `changeChannel: %s`: no wrong tenant, nobody served a second after the suspension, no 5xx',
    async (changeChannel) => {
      const server = await startRedis()
      onTestFinished(() => server.stop())
      const processes = await Promise.all(
        Array.from({ length: PROCESSES }, () =>
          startProcess({
            databaseUrl: database.appUrl,
            adminDatabaseUrl: database.adminUrl,
            redisUrl: server.url,
            cacheEnabled: true,
            changeChannel,
            databasePoolSize: 2,
            l1CacheTtlSeconds: 2,
          }),
        ),
      )
      const [first] = processes as [AppProcess]
      const names = Array.from({ length: 8 }, (_, n) => `${changeChannel}-${n}`)
      const suspensions = new Map<string, Suspension[]>(names.map((name) => [name, []]))
      for (const name of names) await first.run('register', name)

      const counts = { served: 0, refused: 0, moves: 0 }
      const faults: string[] = []
      const over = new AbortController()
      const load = processes.flatMap((one, number) =>
        names.map(async (name) => {
          while (!over.signal.aborted) {
            const begun = performance.now()
            const { status, body } = await one.who(name)
            const ended = performance.now()
            if (status === 200) {
              counts.served++
              if ((JSON.parse(body) as { identifier: string }).identifier !== name) faults.push(`${name} got ${body}`)
              const late = suspensions.get(name)?.find(({ from, to }) => begun > from + GRACE_MS && ended < to)
              if (late !== undefined) {
                faults.push(`${name} served by ${number}, ${Math.round(begun - late.from)} ms after its suspension`)
              }
            } else if (status === 403) counts.refused++
            else faults.push(`${name} answered ${status}: ${body}`)
            await sleep(15)
          }
        }),
      )
      const moves = names.map(async (name, n) => {
        for (let turn = n; !over.signal.aborted; turn++) {
          await (processes[turn % PROCESSES] as AppProcess).run('suspend', name)
          const suspension: Suspension = { from: performance.now(), to: Number.POSITIVE_INFINITY }
          suspensions.get(name)?.push(suspension)
          await sleep(1700)
          suspension.to = performance.now()
          await (processes[(turn + 1) % PROCESSES] as AppProcess).run('activate', name)
          counts.moves++
          await sleep(300 + 100 * n)
        }
      })
      for (let kill = 0; kill < KILLS; kill++) {
        await sleep(1000)
        await server.kill()
        await sleep(kill % 2 === 0 ? 300 : 1500)
        await server.restart()
      }
      over.abort()
      await Promise.all([...load, ...moves])
      expect(faults).toEqual([])
      expect(counts.served).toBeGreaterThan(1000)
      expect(counts.refused).toBeGreaterThan(1000)
      expect(counts.moves).toBeGreaterThan(30)
    },
    180_000,
  )
})
