import * as fc from 'fast-check'
import type { FastifyRequest } from 'fastify'
import { describe, expect, it } from 'vitest'
import type { TenantResolver } from '../../src/contracts/resolver.ts'
import { chainResolver } from '../../src/resolvers/chain.ts'
import { customResolver } from '../../src/resolvers/custom.ts'
import { headerResolver } from '../../src/resolvers/header.ts'
import { pathResolver } from '../../src/resolvers/path.ts'
import { subdomainResolver } from '../../src/resolvers/subdomain.ts'
import { parseIdentifier } from '../../src/util/identifier.ts'
import { identify, request, slugRule } from './request.ts'

type Answer = string | undefined

/** A resolver with one answer that counts how often it is asked. */
function saying(answer: Answer, { later = false } = {}) {
  const resolver = {
    name: 'saying',
    asked: 0,
    resolve(): Answer | Promise<Answer> {
      resolver.asked++
      return later ? Promise.resolve(answer) : answer
    },
  }
  return resolver satisfies TenantResolver
}

describe('chainResolver', () => {
  it('gives the first claim and asks no further', () => {
    const parts = [saying(undefined), saying('acme'), saying('beta')]
    expect(chainResolver(parts).resolve(request())).toBe('acme')
    expect(parts.map((part) => part.asked)).toEqual([1, 1, 0])
  })

  it.each(['', 'ACME', 'acme\n', 'a.b'])('stops at the malformed claim %j', (malformed) => {
    const next = saying('beta')
    const claim = chainResolver([saying(malformed), next]).resolve(request())
    expect(claim).toBe(malformed)
    expect(parseIdentifier(claim)).toBeUndefined()
    expect(next.asked).toBe(0)
  })

  it('says nothing when nobody does', async () => {
    expect(chainResolver([saying(undefined), saying(undefined)]).resolve(request())).toBeUndefined()
    expect(chainResolver([saying(undefined)], { agree: true }).resolve(request())).toBeUndefined()
    const late = chainResolver([saying(undefined, { later: true }), saying(undefined)], { agree: true })
    await expect(late.resolve(request())).resolves.toBeUndefined()
  })

  it('combines the real resolvers', () => {
    const chain = chainResolver([headerResolver(), subdomainResolver({ suffix: 'example.com' }), pathResolver()])
    const host = 'beta.example.com'
    expect(identify(chain, { host, headers: { 'x-tenant-id': 'acme' } })).toBe('acme')
    expect(identify(chain, { host })).toBe('beta')
    expect(identify(chain, { originalUrl: '/tenants/gamma' })).toBe('gamma')
    expect(identify(chain, { host, headers: { 'x-tenant-id': 'acme, beta' } })).toBeUndefined()
    expect(identify(chain, { host, headers: { 'x-tenant-id': ['acme', 'acme'] } })).toBeUndefined()
    expect(identify(chain, { host, headers: { 'x-tenant-id': '' } })).toBeUndefined()
    expect(identify(chain, { host: 'a.beta.example.com', originalUrl: '/tenants/gamma' })).toBeUndefined()
  })

  it('is synchronous until a part is not', async () => {
    const slow = saying('beta', { later: true })
    expect(chainResolver([saying('acme'), slow]).resolve(request())).toBe('acme')
    await expect(chainResolver([slow, saying('acme')]).resolve(request())).resolves.toBe('beta')
    const silent = saying(undefined, { later: true })
    await expect(chainResolver([saying(undefined), silent, saying('acme')]).resolve(request())).resolves.toBe('acme')
  })

  it('passes on what a resolver throws, and asks no further', async () => {
    const failure = new TypeError('no')
    const next = saying('beta')
    const throwing = customResolver(() => {
      throw failure
    })
    const rejecting = customResolver(() => Promise.reject(failure))
    for (const agree of [false, true]) {
      expect(() => chainResolver([throwing, next], { agree }).resolve(request())).toThrowError(failure)
      await expect(chainResolver([rejecting, next], { agree }).resolve(request())).rejects.toBe(failure)
    }
    expect(next.asked).toBe(0)
  })

  it('takes its resolvers once, and needs one', () => {
    const parts = [saying(undefined)]
    const chain = chainResolver(parts)
    parts.push(saying('acme'))
    expect(chain.resolve(request())).toBeUndefined()
    expect(Object.isFrozen(chain)).toBe(true)
    expect(chain.name).toBe('chain')
    expect(() => chainResolver([])).toThrowError(expect.objectContaining({ code: 'TENANCY_ERR_CONFIG_INVALID' }))
  })

  it('mixes resolvers of any request with those of a FastifyRequest', () => {
    const mixed: TenantResolver<FastifyRequest> = chainResolver<FastifyRequest>([
      headerResolver(),
      customResolver<FastifyRequest>((req) => req.ip),
    ])
    expect(mixed.name).toBe('chain')
  })

  it('refuses what a resolver without types gives', () => {
    const odd = { name: 'odd', resolve: () => null } as unknown as TenantResolver
    expect(identify(chainResolver([odd, saying('acme')]), {})).toBeUndefined()
    expect(identify(chainResolver([odd, saying('acme')], { agree: true }), {})).toBeUndefined()
  })
})

describe('chainResolver with agree', () => {
  const both = chainResolver([headerResolver(), subdomainResolver({ suffix: 'example.com' })], { agree: true })
  const host = 'acme.example.com'

  it('[W12] serves when every resolver names the same tenant', () => {
    expect(identify(both, { host, headers: { 'x-tenant-id': 'acme' } })).toBe('acme')
  })

  it('[W12] refuses a header that the other source does not confirm', () => {
    const headers = { 'x-tenant-id': 'beta' }
    expect(both.resolve(request({ host, headers }))).toBe('')
    expect(both.resolve(request({ headers }))).toBe('')
    expect(both.resolve(request({ host }))).toBe('')
    const first = chainResolver([headerResolver(), subdomainResolver({ suffix: 'example.com' })])
    expect(identify(first, { host, headers })).toBe('beta')
  })

  it('[W12] refuses when a later source is the one that differs, also asynchronously', async () => {
    const parts = [saying('acme'), saying('acme', { later: true }), saying('beta')]
    await expect(chainResolver(parts, { agree: true }).resolve(request())).resolves.toBe('')
    const silent = [saying('acme', { later: true }), saying('acme'), saying(undefined)]
    await expect(chainResolver(silent, { agree: true }).resolve(request())).resolves.toBe('')
  })

  it('stays synchronous', () => {
    expect(chainResolver([saying('acme'), saying('acme')], { agree: true }).resolve(request())).toBe('acme')
  })

  it('asks one at a time, so that an early refusal leaves no promise behind', async () => {
    const late = saying('gamma', { later: true })
    expect(chainResolver([saying('acme'), saying('beta'), late], { agree: true }).resolve(request())).toBe('')
    expect(late.asked).toBe(0)
  })

  it('holds for every mix of answers', async () => {
    const answer = fc.option(fc.constantFrom('acme', 'beta', '', 'ACME'), { nil: undefined })
    const part = fc.record({ answer, later: fc.boolean() })
    await fc.assert(
      fc.asyncProperty(fc.array(part, { minLength: 1, maxLength: 5 }), fc.boolean(), async (parts, agree) => {
        const chain = chainResolver(
          parts.map((p) => saying(p.answer, p)),
          { agree },
        )
        const found = parseIdentifier(await chain.resolve(request()))
        const said = parts.map((p) => p.answer)
        const expected = agree
          ? said.every((a) => a === said[0])
            ? said[0]
            : undefined
          : said.find((a) => a !== undefined)
        expect(found).toBe(expected !== undefined && slugRule.test(expected) ? expected : undefined)
      }),
      { numRuns: 500 },
    )
  })
})
