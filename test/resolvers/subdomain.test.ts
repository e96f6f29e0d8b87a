import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { subdomainResolver } from '../../src/resolvers/subdomain.ts'
import { hostileValues, identify, request, slugRule, slugs, timeThousand } from './request.ts'

const resolver = subdomainResolver({ suffix: 'example.com' })
const claim = (host: string) => resolver.resolve(request({ host }))
const tenant = (host: string) => identify(resolver, { host })

describe('subdomainResolver', () => {
  it.each([
    'acme.example.com',
    'acme.example.com:8080',
    'acme.example.com:',
    'acme.example.com.',
    'acme.example.com.:8080',
    'ACME.Example.COM',
    'Acme.example.com.:443',
  ])('finds acme in %s', (host) => {
    expect(claim(host)).toBe('acme')
  })

  it.each(['example.com', '.example.com', 'example.com.', 'EXAMPLE.com', '.Example.Com.'])(
    'takes the suffix %j for the same domain',
    (suffix) => {
      expect(identify(subdomainResolver({ suffix }), { host: 'acme.example.com' })).toBe('acme')
    },
  )

  it('follows its suffix', () => {
    expect(identify(subdomainResolver({ suffix: 'localhost' }), { host: 'acme.localhost:3000' })).toBe('acme')
    expect(identify(subdomainResolver({ suffix: 'eu.example.com' }), { host: 'acme.eu.example.com' })).toBe('acme')
    expect(subdomainResolver({ suffix: 'example.org' }).resolve(request({ host: 'acme.example.com' }))).toBeUndefined()
  })

  it.each([
    '',
    'example.com',
    'example.com.',
    'EXAMPLE.COM:80',
    'localhost:3000',
    'my_service:3000',
    'acme.example.org',
  ])('says nothing for %j', (host) => {
    expect(claim(host)).toBeUndefined()
  })

  it.each([
    'acmeexample.com',
    'acme.notexample.com',
    'acme.example.com.evil.org',
    'example.com.acme',
    'acme.example.co',
  ])('is not taken in by the neighbour %s', (host) => {
    expect(claim(host)).toBeUndefined()
  })

  it.each([
    '127.0.0.1',
    '127.0.0.1:3000',
    '[::1]',
    '[::1]:3000',
    '[2001:db8::1]:443',
    '[::ffff:10.0.0.1]',
    '::1',
    'fe80::1',
  ])('[W11] says nothing for the IP address %s', (host) => {
    expect(claim(host)).toBeUndefined()
  })

  it.each([
    'acme.other.example.com',
    'a.b.c.example.com',
    'beta.acme.example.com:80',
    'acme..example.com',
    'www.acme.example.com.',
  ])('[W11] refuses the deep host %s instead of taking one of its labels', (host) => {
    expect(claim(host)).toContain('.')
    expect(tenant(host)).toBeUndefined()
  })

  it.each([
    'acme.example.com, beta.example.com',
    'acme.example.com,beta.example.com',
    'evil.org, acme.example.com',
    'acme.example.com, evil.org',
    ',acme.example.com',
  ])('[W11] refuses the list %j', (host) => {
    expect(claim(host)).toBe('')
  })

  it.each([
    '.example.com',
    'user@acme.example.com',
    'acme.example.com:80:90',
    'acme.example.com:123456',
    'acme.example.com:8o',
    ' acme.example.com',
    'acme.example.com\n',
    'acme.example.com\0',
    'http://acme.example.com',
    'acme.example.com/x',
    '[::1].example.com',
    '[acme].example.com',
    '[::1',
    ':80',
    'acme。example.com',
    'ac\u212Ae.example.com',
    'acme.e\u00D7ample.com',
    '*.example.com',
  ])('takes %j for a malformed claim', (host) => {
    expect(claim(host)).toBe('')
  })

  it('does not fold a look-alike into ASCII', () => {
    expect('\u212A'.toLowerCase()).toBe('k')
    expect(tenant('\u212Acme.example.com')).toBeUndefined()
    expect(() => subdomainResolver({ suffix: 'bac\u212A.com' })).toThrowError()
  })

  it.each(hostileValues.filter((value) => value !== 'Acme').map((value) => [value.slice(0, 30), value]))(
    'refuses %j before the suffix',
    (_, value) => {
      expect(claim(`${value}.example.com`)).toBeTypeOf('string')
      expect(tenant(`${value}.example.com`)).toBeUndefined()
    },
  )

  it('[W11] never reads a forwarded host itself', () => {
    const headers = {
      host: 'beta.example.com',
      'x-forwarded-host': 'beta.example.com',
      forwarded: 'host=beta.example.com',
    }
    expect(resolver.resolve(request({ headers, host: 'acme.example.com' }))).toBe('acme')
    expect(resolver.resolve(request({ headers, host: 'example.com' }))).toBeUndefined()
  })

  it.each([
    '',
    '.',
    '..example.com',
    'example..com',
    'https://example.com',
    'example.com:80',
    '*.example.com',
    'exa mple.com',
    'bücher.de',
    '10.0.0.1',
    '0.1',
    '-a.com',
    'example.com/',
  ])('cannot be made for the suffix %j', (suffix) => {
    expect(() => subdomainResolver({ suffix })).toThrowError(
      expect.objectContaining({ code: 'TENANCY_ERR_CONFIG_INVALID' }),
    )
  })

  it('is frozen and named, and survives a request without host', () => {
    expect(Object.isFrozen(resolver)).toBe(true)
    expect(resolver.name).toBe('subdomain')
    expect(resolver.resolve(request({ host: undefined as unknown as string }))).toBeUndefined()
    expect(() => subdomainResolver({ suffix: undefined as unknown as string })).toThrowError(/received undefined/)
  })

  it('gives a slug only for <slug>.<suffix>, with port, trailing dot and case', () => {
    const port = fc.oneof(
      fc.constant(''),
      fc.constant(':'),
      fc.integer({ min: 0, max: 65535 }).map((n) => `:${n}`),
      fc.stringMatching(/^:[0-9a-z:]{0,7}$/),
    )
    const part = fc.oneof(
      slugs,
      fc.stringMatching(/^[A-Za-z0-9._-]{0,8}$/),
      fc.string({ unit: 'binary', maxLength: 6 }),
      fc.ipV4(),
      fc.ipV6().map((ip) => `[${ip}]`),
      fc.domain(),
    )
    const ending = fc.constantFrom(
      '',
      '.example.com',
      '.EXAMPLE.com',
      'example.com',
      '.example.com.',
      '.example.com..',
      '.example.org',
    )
    fc.assert(
      fc.property(part, ending, port, (before, after, suffix) => {
        const host = `${before}${after}${suffix}`
        // The same rule as one expression, ASCII only.
        const expected = /^([A-Za-z0-9-]+)\.example\.com\.?(?::[0-9]{0,5})?$/i.exec(host)?.[1]?.toLowerCase()
        expect(tenant(host)).toBe(expected !== undefined && slugRule.test(expected) ? expected : undefined)
      }),
      { numRuns: 3000 },
    )
  })

  it('gives a slug or nothing for any text', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.constantFrom('', '.example.com'), (text, after) => {
        const found = tenant(text + after)
        expect(found === undefined || slugRule.test(found)).toBe(true)
      }),
    )
  })

  it.each(['a', '.', ':', '[', ':1', 'a.', ', ', '\0'])('takes bounded time for 64 KB of %j', (unit) => {
    const host = unit.repeat((64 * 1024) / unit.length)
    expect(timeThousand(() => tenant(host))).toBeLessThan(800)
    expect(timeThousand(() => tenant(`${host}.example.com`))).toBeLessThan(800)
  })
})
