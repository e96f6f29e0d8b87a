import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import type { TestDatabase } from '../servers/database.ts'
import { startRedis } from '../servers/redis.ts'
import { describeWith } from '../servers/suite.ts'
import { baselineDatabase } from '../support/database.ts'
import { aboutRedis, cachedApp } from './redis-fixture.ts'

const TENANTS = 20
const KILLS = 3

describeWith(['postgres18', 'redis'], 'Redis is killed under load', ({ postgres18 }) => {
  let database: TestDatabase
  beforeAll(async () => {
    database = await baselineDatabase(postgres18.url)
  })
  afterAll(() => database?.drop())

  it('[W41] costs no request anything, and one line in the log each time', async () => {
    const server = await startRedis({ appendonly: 'yes' })
    onTestFinished(() => server.stop())
    const apps = [await cachedApp(database, server.url), await cachedApp(database, server.url)]
    const names = Array.from({ length: TENANTS }, (_, n) => `tenant-${n}`)
    for (const identifier of names) await apps[0]?.app.tenancy.ensure({ identifier })
    await Promise.all(apps.map(({ on }) => on()))

    const done = new AbortController()
    let slowest = 0
    const wrong: string[] = []
    let answers = 0
    const load = apps.flatMap(({ ask }) =>
      names.map(async (name) => {
        while (!done.signal.aborted) {
          const begun = performance.now()
          const answer = await ask(name)
          slowest = Math.max(slowest, performance.now() - begun)
          answers++
          if (answer !== `200 ${name}`) wrong.push(answer)
          await sleep(5)
        }
      }),
    )
    for (let kill = 0; kill < KILLS; kill++) {
      await sleep(500)
      await server.kill()
      await Promise.all(apps.map(({ off }) => off()))
      await sleep(500)
      await server.restart()
      await Promise.all(apps.map(({ on }) => on()))
    }
    done.abort()
    await Promise.all(load)
    expect(wrong).toEqual([])
    expect(answers).toBeGreaterThan(500)
    expect(slowest).toBeLessThan(5000)
    for (const app of apps) expect(aboutRedis(app)).toHaveLength(2 * KILLS)
  })
})
