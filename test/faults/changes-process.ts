/*
 * One of several processes of an app. Options come in OPTIONS as JSON; verbs come as messages, and so do the answers.
 * Started by the tests of changes across processes.
 */
import { sql } from 'drizzle-orm'
import { mysqlTable, int } from 'drizzle-orm/mysql-core'
import Fastify from 'fastify'
import tenancy, { getTenant, getTenantDb, type TenancyOptions } from '../../src/index.ts'

const options = JSON.parse(process.env['OPTIONS'] ?? '{}') as TenancyOptions
const isMysql = String(options.databaseUrl).startsWith('mysql')
const app = Fastify()
await app.register(tenancy, {
  ...options,
  ...(isMysql && { schema: { items: mysqlTable('items', { id: int('id') }) } }),
})
const warnings: string[] = []
app.log.warn = (sentence: unknown) => void warnings.push(String(sentence))
app.get('/who', async () => ({ id: getTenant().id, identifier: getTenant().identifier }))

interface Executes {
  execute(query: unknown): Promise<unknown>
}
const kept = new Map<string, Executes>()

const verbs: Record<string, (ref: string, other?: string) => unknown> = {
  register: (identifier) => app.tenancy.register({ identifier }),
  suspend: (ref) => app.tenancy.suspend(ref),
  activate: (ref) => app.tenancy.activate(ref),
  delete: (ref) => app.tenancy.delete(ref),
  rename: (ref, identifier = '') => app.tenancy.update(ref, { identifier }),
  keep: (ref) => app.tenancy.run(ref, () => void kept.set(ref, getTenantDb() as unknown as Executes)),
  use: (ref) =>
    kept
      .get(ref)
      ?.execute(sql`select 1`)
      .then(() => 'served'),
  metrics: () => app.tenancy.getMetrics(),
  warnings: () => warnings,
}

process.on('message', ({ id, verb, ref, other }: Record<string, string>) => {
  Promise.resolve()
    .then(() => verbs[verb ?? '']?.(ref ?? '', other))
    .then(
      (result) => process.send?.({ id, result: result ?? null }),
      (error: { code?: string; message: string; cause?: { code?: string } }) =>
        process.send?.({ id, error: error.cause?.code ?? error.code ?? error.message }),
    )
})

const address = await app.listen({ port: 0, host: '127.0.0.1' })
process.send?.({ id: 'address', result: address })
