import { once } from 'node:events'
import { type AddressInfo, connect } from 'node:net'
import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import { afterEach, describe, expect, it } from 'vitest'
import type { TenantResolver } from '../../src/contracts/resolver.ts'
import { chainResolver } from '../../src/resolvers/chain.ts'
import { headerResolver } from '../../src/resolvers/header.ts'
import { pathResolver, rewriteTenantPath } from '../../src/resolvers/path.ts'
import { subdomainResolver } from '../../src/resolvers/subdomain.ts'
import { parseIdentifier } from '../../src/util/identifier.ts'

let app: FastifyInstance

afterEach(() => app.close())

/** An app that answers with the tenant it found; 400 without one, as the plugin does. */
function serve(resolver: TenantResolver, options: FastifyServerOptions = {}): FastifyInstance {
  app = Fastify(options)
  app.decorateRequest('found', '')
  app.addHook('onRequest', async (request, reply) => {
    const found = parseIdentifier(await resolver.resolve(request))
    if (found === undefined) return reply.code(400).send({ tenant: null })
    request.setDecorator('found', found)
    return undefined
  })
  for (const url of ['/', '/orders', '/tenants/:tenant/orders']) {
    app.get<{ Params: { tenant?: string } }>(url, async (request) => {
      return { tenant: request.getDecorator<string>('found'), param: request.params.tenant, url: request.url }
    })
  }
  return app
}

async function injected(headers: Record<string, string>, url = '/orders') {
  const reply = await app.inject({ url, headers })
  return { status: reply.statusCode, ...reply.json() }
}

/** Sends bytes over a real socket, so that no client tidies the request up first. */
async function sent(lines: readonly string[]): Promise<{ status: number; tenant?: string | null; url?: string }> {
  if (!app.server.listening) await app.listen({ port: 0, host: '127.0.0.1' })
  const socket = connect((app.server.address() as AddressInfo).port, '127.0.0.1')
  socket.setEncoding('latin1')
  let reply = ''
  socket.on('data', (chunk: string) => {
    reply += chunk
  })
  socket.write(`${[...lines, 'Connection: close'].join('\r\n')}\r\n\r\n`, 'latin1')
  await once(socket, 'close')
  const body = reply.slice(reply.indexOf('\r\n\r\n') + 4)
  return { status: Number(reply.split(' ')[1]), ...(body.startsWith('{') ? JSON.parse(body) : {}) }
}

const subdomain = () => subdomainResolver({ suffix: 'example.com' })

describe('subdomainResolver in Fastify', () => {
  const forwarded = { host: 'acme.example.com', 'x-forwarded-host': 'beta.example.com' }
  const raw = ['GET /orders HTTP/1.1', 'Host: acme.example.com:8080', 'X-Forwarded-Host: beta.example.com']

  it('[W11] ignores a forwarded host by default', async () => {
    serve(subdomain())
    expect(await injected(forwarded)).toMatchObject({ status: 200, tenant: 'acme' })
    expect(await injected({ ...forwarded, host: 'example.com' })).toMatchObject({ status: 400 })
    expect(await sent(raw)).toMatchObject({ status: 200, tenant: 'acme' })
  })

  it('[W11] counts a forwarded host when the peer is trusted', async () => {
    serve(subdomain(), { trustProxy: '127.0.0.1' })
    expect(await injected(forwarded)).toMatchObject({ status: 200, tenant: 'beta' })
    expect(await sent(raw)).toMatchObject({ status: 200, tenant: 'beta' })
  })

  it('[W11] ignores a forwarded host of a peer that is not the proxy', async () => {
    serve(subdomain(), { trustProxy: '10.1.2.3' })
    expect(await injected(forwarded)).toMatchObject({ status: 200, tenant: 'acme' })
    expect(await sent(raw)).toMatchObject({ status: 200, tenant: 'acme' })
  })

  it('[W11] takes of a forwarded list only the entry of the proxy next to us', async () => {
    serve(subdomain(), { trustProxy: true })
    const list = { host: 'x.example.com', 'x-forwarded-host': 'evil.example.com, acme.example.com' }
    expect(await injected(list)).toMatchObject({ tenant: 'acme' })
    expect(await injected({ ...list, 'x-forwarded-host': 'a.acme.example.com' })).toMatchObject({ status: 400 })
  })

  it.each([
    ['ACME.Example.com.:80', 200],
    ['acme.other.example.com', 400],
    ['acme.example.com, beta.example.com', 400],
    ['example.com', 400],
    ['127.0.0.1', 400],
    ['[::1]:3000', 400],
    ['ac\u00ADme.example.com', 400],
    ['', 400],
  ])('reads the host %j off a socket', async (host, status) => {
    serve(subdomain())
    const reply = await sent(['GET /orders HTTP/1.1', `Host: ${host}`])
    expect(reply.status).toBe(status)
    if (status === 200) expect(reply.tenant).toBe('acme')
  })

  it('says nothing for HTTP/1.0 without a host', async () => {
    serve(chainResolver([subdomain(), headerResolver()]))
    expect(await sent(['GET /orders HTTP/1.0', 'X-Tenant-Id: acme'])).toMatchObject({ status: 200, tenant: 'acme' })
  })
})

describe('headerResolver in Fastify', () => {
  it.each([
    [['X-Tenant-ID: acme'], 200],
    [['x-tenant-id: \t acme \t'], 200],
    [['X-Tenant-ID: acme', 'x-tenant-id: acme'], 400],
    [['X-Tenant-ID: acme', 'x-tenant-id: beta'], 400],
    [['X-Tenant-ID: acme', 'x-tenant-id:'], 400],
    [['X-Tenant-ID:', 'x-tenant-id: acme'], 400],
    [['X-Tenant-ID:'], 400],
    [['X-Tenant-ID: acme\0'], 400],
    [['X-Tenant-ID: acme\n beta'], 400],
    [['X-Tenant-ID: acme\u00A0'], 400],
    [[], 400],
  ])('reads %j off a socket', async (headers, status) => {
    serve(headerResolver())
    const reply = await sent(['GET /orders HTTP/1.1', 'Host: localhost', ...headers])
    expect(reply.status).toBe(status)
    if (status === 200) expect(reply.tenant).toBe('acme')
  })

  it('refuses a repeated header also when Node is told to join all repetitions', async () => {
    serve(headerResolver(), { http: { joinDuplicateHeaders: true } } as FastifyServerOptions)
    const lines = ['GET /orders HTTP/1.1', 'Host: localhost', 'X-Tenant-ID: acme', 'X-Tenant-ID: acme']
    expect(await sent(lines)).toMatchObject({ status: 400 })
  })
})

describe('pathResolver in Fastify', () => {
  const get = (url: string) => sent([`GET ${url} HTTP/1.1`, 'Host: localhost'])

  it('works with rewriteTenantPath: routes need no prefix', async () => {
    serve(pathResolver(), { rewriteUrl: rewriteTenantPath() })
    expect(await injected({}, '/tenants/acme/orders?page=2')).toMatchObject({ tenant: 'acme', url: '/orders?page=2' })
    expect(await get('/tenants/acme/orders?page=2')).toMatchObject({ tenant: 'acme', url: '/orders?page=2' })
    expect(await get('/tenants/acme')).toMatchObject({ tenant: 'acme', url: '/' })
    expect(await get('/tenants/acme?x=1')).toMatchObject({ tenant: 'acme', url: '/?x=1' })
    expect(await get('/orders')).toMatchObject({ status: 400 })
  })

  it('refuses a malformed tenant on the same route as an unknown one', async () => {
    serve(pathResolver(), { rewriteUrl: rewriteTenantPath() })
    for (const segment of ['ACME', 'acme%2Forders', 'acme%2f..', '%61cme', '..', 'a', '']) {
      expect(await get(`/tenants/${segment}/orders`)).toMatchObject({ status: 400, tenant: null })
    }
  })

  it('works with routes that carry the prefix: claim and route parameter are one', async () => {
    serve(pathResolver())
    expect(await get('/tenants/acme/orders?x=/tenants/beta')).toMatchObject({ tenant: 'acme', param: 'acme' })
    expect(await injected({}, '/tenants/acme/orders')).toMatchObject({ tenant: 'acme', param: 'acme' })
    expect(await get('/tenants/acme%2Forders/orders')).toMatchObject({ status: 400 })
    expect(await get('/tenants/%61cme/orders')).toMatchObject({ status: 400 })
  })

  it.each([
    '/%74enants/acme/orders',
    '/TENANTS/acme/orders',
    '//tenants/acme/orders',
    '/tenants//acme/orders',
    '///tenants///acme///orders',
    'http://localhost/tenants/acme/orders',
  ])('never lets another source decide when the router finds a tenant in %s', async (url) => {
    const options = { routerOptions: { ignoreDuplicateSlashes: true, caseSensitive: false } }
    serve(chainResolver([pathResolver(), headerResolver()]), options)
    const lines = [`GET ${url} HTTP/1.1`, 'Host: localhost']
    expect(await sent([...lines, 'X-Tenant-ID: beta'])).toMatchObject({ status: 400 })
    await app.close()

    // Control: the router itself does take it for the route of acme.
    serve(headerResolver(), options)
    expect(await sent([...lines, 'X-Tenant-ID: beta'])).toMatchObject({ tenant: 'beta', param: 'acme' })
  })

  it('keeps duplicate slashes after the tenant', async () => {
    serve(pathResolver(), { rewriteUrl: rewriteTenantPath(), routerOptions: { ignoreDuplicateSlashes: true } })
    expect(await get('/tenants/acme//orders')).toMatchObject({ status: 200, tenant: 'acme' })
    expect(await get('//tenants/acme/orders')).toMatchObject({ status: 400 })
  })

  it('[W12] agrees with another source only on the same tenant', async () => {
    serve(chainResolver([pathResolver(), headerResolver()], { agree: true }))
    const url = '/tenants/acme/orders'
    expect(await injected({ 'x-tenant-id': 'acme' }, url)).toMatchObject({ status: 200, tenant: 'acme' })
    expect(await injected({ 'x-tenant-id': 'beta' }, url)).toMatchObject({ status: 400 })
    expect(await injected({}, url)).toMatchObject({ status: 400 })
    expect(await injected({ 'x-tenant-id': 'acme' })).toMatchObject({ status: 400 })
  })
})
