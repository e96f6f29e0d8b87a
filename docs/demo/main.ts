// npm run demo                             asks a real server over HTTP and prints who sees what
// npm run demo -- --serve [--port 3000]    keeps the server up, for curl
import type { AddressInfo } from 'node:net'
import { parseArgs } from 'node:util'
import type { FastifyInstance } from 'fastify'
import { demoApp, DOMAIN } from './app.ts'
import { type Answer, ask, type Question } from './ask.ts'
import { formatTable } from './table.ts'

/** One line of the table, and what it has to say. */
interface Case extends Question {
  readonly how: string
  /** Whom the server served. */
  readonly tenant: string
  readonly status: number
  readonly sees: string
}

const UNKNOWN = { tenant: '-', status: 400, sees: 'TENANCY_ERR_TENANT_UNKNOWN' }

const acme = { tenant: 'acme', status: 200, sees: '2 anvil, 1 rocket' }
const globex = { tenant: 'globex', status: 200, sees: '7 doomsday device' }

const cases: readonly Case[] = [
  { how: 'header   X-Tenant-ID: acme', path: '/orders', headers: { 'x-tenant-id': 'acme' }, ...acme },
  { how: 'header   X-Tenant-ID: globex', path: '/orders', headers: { 'x-tenant-id': 'globex' }, ...globex },
  { how: `host     acme.${DOMAIN}`, path: '/orders', headers: { host: `acme.${DOMAIN}` }, ...acme },
  { how: `host     globex.${DOMAIN}`, path: '/orders', headers: { host: `globex.${DOMAIN}` }, ...globex },
  { how: 'path     /tenants/acme/orders', path: '/tenants/acme/orders', ...acme },
  { how: 'path     /tenants/globex/orders', path: '/tenants/globex/orders', ...globex },
  { how: 'raw SQL  /tenants/globex/report', path: '/tenants/globex/report', ...globex },
  { how: 'header   X-Tenant-ID: nobody', path: '/orders', headers: { 'x-tenant-id': 'nobody' }, ...UNKNOWN },
  { how: 'nothing  /orders', path: '/orders', ...UNKNOWN },
  {
    how: 'header   X-Tenant-ID: initech',
    path: '/orders',
    headers: { 'x-tenant-id': 'initech' },
    tenant: '-',
    status: 403,
    sees: 'TENANCY_ERR_TENANT_SUSPENDED',
  },
  { how: 'nothing  /health', path: '/health', tenant: '-', status: 200, sees: 'ok' },
]

const options = optionsGiven()
const app = await demoApp()
try {
  await app.listen({ host: '127.0.0.1', port: options.serve ? Number(options.port) : 0 })
  const { port } = app.server.address() as AddressInfo
  await populate(app, port)
  if (options.serve) await serve(port)
  else process.exitCode = await show(port)
} catch (error) {
  if ((error as { code?: unknown }).code !== 'EADDRINUSE') throw error
  console.error(`Port ${options.port} is in use; choose another with --port.`)
  process.exitCode = 1
} finally {
  await app.close()
}

/** Ends the process with status 2 for any other. */
function optionsGiven(): { readonly serve: boolean; readonly port: string } {
  try {
    const options = { serve: { type: 'boolean', default: false }, port: { type: 'string', default: '3000' } } as const
    return parseArgs({ options }).values
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : String(error)}\nUse --serve, --port <number> or nothing.`)
    return process.exit(2)
  }
}

/** Two tenants with data that comes in over HTTP, and one that is suspended. */
async function populate({ tenancy }: FastifyInstance, port: number): Promise<void> {
  await tenancy.register({ identifier: 'acme', name: 'Acme Inc.' })
  await tenancy.register({ identifier: 'globex', name: 'Globex Corp.' })
  await tenancy.register({ identifier: 'initech', name: 'Initech' })
  await tenancy.suspend('initech')
  const inserts = [
    ['acme', { article: 'anvil', quantity: 2 }],
    ['acme', { article: 'rocket' }],
    ['globex', { article: 'doomsday device', quantity: 7 }],
  ] as const
  for (const [tenant, body] of inserts) {
    const { status } = await ask(port, { path: '/orders', headers: { 'x-tenant-id': tenant }, body })
    if (status !== 201) throw new Error(`POST /orders for ${tenant} was answered ${status}`)
  }
}

/** Asks every case and prints the answers; 0 when each is as it must be. */
async function show(port: number): Promise<number> {
  const rows: string[][] = []
  const wrong: string[] = []
  for (const expected of cases) {
    const answer = await ask(port, expected)
    const row = [answer.tenant, String(answer.status), seen(answer)]
    const due = [expected.tenant, String(expected.status), expected.sees]
    rows.push([expected.how, ...row])
    if (row.join() !== due.join()) wrong.push(`${expected.how}: expected ${due.join(' | ')}, got ${row.join(' | ')}`)
  }
  console.log(formatTable(['how asked', 'tenant', 'status', 'what it sees'], rows))
  if (wrong.length === 0) console.log(`\n${rows.length} answers, each as it must be.`)
  else console.error(`\nNOT as it must be:\n${wrong.join('\n')}`)
  return wrong.length === 0 ? 0 : 1
}

/** Keeps the server up until SIGINT or SIGTERM. */
async function serve(port: number): Promise<void> {
  const url = `http://127.0.0.1:${port}`
  console.log(
    [
      `Listening on ${url}. Try:`,
      `  curl -H 'X-Tenant-ID: acme' ${url}/orders`,
      `  curl -H 'Host: globex.${DOMAIN}' ${url}/orders`,
      `  curl ${url}/tenants/acme/orders`,
      `  curl -X POST -H 'X-Tenant-ID: acme' -H 'Content-Type: application/json' -d '{"article":"magnet"}' ${url}/orders`,
      `  curl -i -H 'X-Tenant-ID: nobody' ${url}/orders`,
      `  curl -i -H 'X-Tenant-ID: initech' ${url}/orders`,
      'Stop with Ctrl-C.',
    ].join('\n'),
  )
  await new Promise<void>((resolve) => {
    process.once('SIGINT', () => resolve())
    process.once('SIGTERM', () => resolve())
  })
}

/** What an answer shows: rows as text, the code of a problem, or the status of the health route. */
function seen({ body }: Answer): string {
  if (Array.isArray(body)) return body.map(({ quantity, article }) => `${quantity} ${article}`).join(', ')
  return body.code ?? body.status
}
