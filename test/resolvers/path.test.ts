import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { pathResolver, rewriteTenantPath } from '../../src/resolvers/path.ts'
import { hostileValues, identify, request, slugRule, slugs, timeThousand } from './request.ts'

const resolver = pathResolver()
const rewrite = rewriteTenantPath()
const claim = (originalUrl: string) => resolver.resolve(request({ originalUrl })) as string | undefined
const tenant = (originalUrl: string) => identify(resolver, { originalUrl })

describe('pathResolver', () => {
  it.each([
    '/tenants/acme',
    '/tenants/acme/',
    '/tenants/acme/orders',
    '/tenants/acme/tenants/beta',
    '/tenants/acme?tenant=/tenants/beta',
    '/tenants/acme#/tenants/beta',
    '/tenants/acme/orders?page=2#top',
    '/tenants/acme//orders',
  ])('finds acme in %s', (url) => {
    expect(claim(url)).toBe('acme')
  })

  it.each([
    '/',
    '/orders',
    '/tenantsx/acme',
    '/tenants-old/acme',
    '/x/tenants/acme',
    '/?/tenants/acme',
    '/orders?next=/tenants/acme',
  ])('says nothing for %s', (url) => {
    expect(claim(url)).toBeUndefined()
  })

  it.each([
    '/tenants',
    '/tenants/',
    '/tenants//',
    '/tenants//acme',
    '/tenants?tenant=acme',
    '/tenants/?acme',
    '/tenants/#acme',
  ])('takes %s, without a segment, for a malformed claim', (url) => {
    expect(claim(url)).toBe('')
  })

  it.each([
    '/%74enants/acme',
    '/%54enants/acme',
    '//tenants/acme',
    '/TENANTS/acme',
    '/tenants%2Facme',
    '/%2ftenants/acme',
    '/tenants;v=1/acme',
    '/%74%65%6e%61%6e%74%73',
  ])('refuses %s, which a lenient router takes for the prefix', (url) => {
    expect(claim(url)).toBe('')
  })

  it.each(['', '*', 'http://example.com/tenants/acme', 'tenants/acme', ' /tenants/acme'])(
    'refuses the target %j',
    (url) => {
      expect(claim(url)).toBe('')
    },
  )

  it.each([
    '/tenants/acme%2Forders',
    '/tenants/acme%2f..%2fbeta/x',
    '/tenants/%61cme',
    '/tenants/acme%00/x',
    '/tenants/acme%0A',
    '/tenants/acme;x/y',
    '/tenants/../beta',
    '/tenants/acme\\beta',
    '/tenants/Acme',
  ])('refuses %s: nothing is decoded', (url) => {
    expect(claim(url)).toBeTypeOf('string')
    expect(tenant(url)).toBeUndefined()
  })

  it.each(hostileValues.map((value) => [value.slice(0, 30), value]))('refuses the segment %j', (_, value) => {
    expect(claim(`/tenants/${value}/orders`)).toBeTypeOf('string')
    expect(tenant(`/tenants/${value}/orders`)).toBeUndefined()
  })

  it.each(['/org', 'org', '/org/', 'org/'])('follows its prefix, here %s', (prefix) => {
    const custom = pathResolver({ prefix })
    expect(custom.resolve(request({ originalUrl: '/org/acme/x' }))).toBe('acme')
    expect(custom.resolve(request({ originalUrl: '/tenants/acme/x' }))).toBeUndefined()
    expect(rewriteTenantPath({ prefix })({ url: '/org/acme/x' })).toBe('/x')
    expect(rewriteTenantPath({ prefix })({ url: '/tenants/acme/x' })).toBe('/tenants/acme/x')
  })

  it('takes a prefix of several segments', () => {
    const custom = pathResolver({ prefix: '/api/v1.0/t' })
    expect(custom.resolve(request({ originalUrl: '/api/v1.0/t/acme/x' }))).toBe('acme')
    expect(custom.resolve(request({ originalUrl: '/api//v1.0/t/acme/x' }))).toBe('')
    expect(custom.resolve(request({ originalUrl: '/api/v1x0/t/acme/x' }))).toBeUndefined()
  })

  it('takes / for "the first segment is the tenant"', () => {
    const custom = pathResolver({ prefix: '/' })
    expect(custom.resolve(request({ originalUrl: '/acme/x?y' }))).toBe('acme')
    expect(custom.resolve(request({ originalUrl: '/' }))).toBe('')
    expect(custom.resolve(request({ originalUrl: '//acme' }))).toBe('')
    expect(rewriteTenantPath({ prefix: '/' })({ url: '/acme/x?y' })).toBe('/x?y')
    expect(rewriteTenantPath({ prefix: '/' })({ url: '/' })).toBe('/')
  })

  it.each(['', '//', '/a//b', '/a b', '/a%20b', '/a?b', '/a#b', '/:tenant', '/*', '/a\n', '/ä'])(
    'cannot be made for %j',
    (prefix) => {
      const invalid = expect.objectContaining({ code: 'TENANCY_ERR_CONFIG_INVALID' })
      expect(() => pathResolver({ prefix })).toThrowError(invalid)
      expect(() => rewriteTenantPath({ prefix })).toThrowError(invalid)
    },
  )

  it('is frozen and named', () => {
    expect(Object.isFrozen(resolver)).toBe(true)
    expect(resolver.name).toBe('path')
    expect(() => pathResolver({ prefix: 7 as unknown as string })).toThrowError(/received number/)
  })

  it.each(['a', '/', '%2f', '%', '?', '/tenants', '//tenants/acme'])('takes bounded time for 64 KB of %j', (unit) => {
    const tail = unit.repeat(Math.floor((64 * 1024) / unit.length))
    for (const url of [`/${tail}`, `/tenants/${tail}`, `/tenants${tail}`]) {
      expect(timeThousand(() => tenant(url))).toBeLessThan(800)
      expect(timeThousand(() => rewrite({ url }))).toBeLessThan(800)
    }
  })
})

describe('rewriteTenantPath', () => {
  it.each([
    ['/tenants/acme/orders', '/orders'],
    ['/tenants/acme/orders/7?page=2#x', '/orders/7?page=2#x'],
    ['/tenants/acme', '/'],
    ['/tenants/acme/', '/'],
    ['/tenants/acme?page=2', '/?page=2'],
    ['/tenants/acme#x', '/#x'],
    ['/tenants/acme/orders?next=/tenants/beta', '/orders?next=/tenants/beta'],
    ['/tenants/acme/tenants/beta/x', '/tenants/beta/x'],
  ])('routes %s as %s', (url, expected) => {
    expect(rewrite({ url })).toBe(expected)
  })

  it('also cuts a claim that is refused, so that malformed and unknown tenants reach the same route', () => {
    expect(rewrite({ url: '/tenants/BAD%2F/orders' })).toBe('/orders')
  })

  it.each([
    '/',
    '/orders',
    '/tenants',
    '/tenants/',
    '/tenants//orders',
    '/tenantsx/acme',
    '//tenants/acme',
    '/%74enants/acme',
    '/orders?x=/tenants/acme',
    '*',
    'http://example.com/tenants/acme/orders',
    '',
  ])('leaves %j alone', (url) => {
    expect(rewrite({ url })).toBe(url)
  })

  it('takes a request without URL for the root', () => {
    expect(rewrite({})).toBe('/')
  })
})

describe('path claims in general', () => {
  const segment = fc.oneof(
    fc.constantFrom('', 'tenants', 'Tenants', '%74enants', 'tenants%2Facme', 'tenants;', 'acme', '..', '?', '#', ';'),
    slugs,
    fc.string({ unit: 'binary', maxLength: 5 }),
  )
  const anyUrl = fc
    .tuple(fc.constantFrom('/', '//', '/tenants/', '', 'http://h/'), fc.array(segment, { maxLength: 5 }))
    .map(([start, parts]) => start + parts.join('/'))

  it('gives a slug only for the segment after the prefix, and cuts exactly that', () => {
    fc.assert(
      fc.property(anyUrl, (url) => {
        const expected = /^\/tenants\/([^/?#]*)(?:[/?#]|$)/.exec(url)?.[1]
        expect(tenant(url)).toBe(expected !== undefined && slugRule.test(expected) ? expected : undefined)
        const routed = rewrite({ url })
        // A rewritten URL has always a claim, so nothing is routed without its tenant being checked.
        if (routed === url) expect(tenant(url)).toBeUndefined()
        else expect(url).toBe(`/tenants/${claim(url) ?? ''}${url.endsWith(routed) ? routed : routed.slice(1)}`)
      }),
      { numRuns: 3000 },
    )
  })
})
