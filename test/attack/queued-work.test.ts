import { AsyncResource } from 'node:async_hooks'
import { createRequire } from 'node:module'
import { sql } from 'drizzle-orm'
import { expect, it, onTestFinished } from 'vitest'
import { db, migrationsOf } from '../faults/fixture.ts'
import { runWithTenant } from '../../src/index.ts'
import { describeWith } from '../servers/suite.ts'
import { as, tenantApp } from '../support/app.ts'
import { baselineDatabase } from '../support/database.ts'

type Task = () => Promise<unknown>
interface Queue {
  push(task: Task): Promise<void>
}
/**
 * Comes with Fastify. It calls the next task where the one before ended, as many others do: unbound, it is somebody else's
 * context, and nobody can tell. docs/tenants.md says to bind what is queued.
 */
const fastq = createRequire(import.meta.url)('fastq') as {
  promise(worker: (task: Task) => Promise<unknown>, concurrency: number): Queue
}

describeWith(['postgres15'], 'work of several requests in one queue', ({ postgres15 }) => {
  it.each(['bound', 'run as its tenant'])(
    'that is %s never writes the rows of one tenant into the tables of another',
    async (how) => {
      const database = await baselineDatabase(postgres15.url)
      onTestFinished(() => database.drop())
      const migrations = await migrationsOf(['create table "orders" ("owner" text not null)'])
      const app = await tenantApp(database, { migrations })
      const queue = fastq.promise((task) => task(), 1)
      app.post('/orders', async (request) => {
        const owner = request.tenant?.identifier ?? ''
        const write = async () => {
          // Awaited in here: Drizzle's statements begin where they are awaited.
          await db().execute(sql`insert into orders select ${owner} from pg_sleep(0.5)`)
        }
        await queue.push(how === 'bound' ? AsyncResource.bind(write) : () => runWithTenant(owner, write))
      })
      app.get('/orders', async () => (await db().execute(sql`select distinct owner from orders`)).rows)
      await app.ready()
      onTestFinished(() => app.close())
      const tenants = ['acme', 'globex']
      for (const identifier of tenants) await app.tenancy.register({ identifier })
      const answers = await Promise.all(
        tenants.map((one) => app.inject({ method: 'POST', url: '/orders', headers: as(one) })),
      )
      expect(answers.map(({ statusCode, body }) => [statusCode, body])).toEqual([
        [200, ''],
        [200, ''],
      ])
      const owners = await Promise.all(
        tenants.map(async (one) => (await app.inject({ url: '/orders', headers: as(one) })).json<object[]>()),
      )
      expect(owners).toEqual([[{ owner: 'acme' }], [{ owner: 'globex' }]])
    },
  )
})
