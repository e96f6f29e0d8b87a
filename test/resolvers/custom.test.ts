import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type CustomResolve, customResolver } from '../../src/resolvers/custom.ts'
import { parseIdentifier } from '../../src/util/identifier.ts'
import { request, slugRule, slugs } from './request.ts'

const returning = (answer: unknown) => customResolver((() => answer) as CustomResolve).resolve(request())

describe('customResolver', () => {
  it('asks the function, with the request', () => {
    const resolver = customResolver(({ headers }) => headers['x-key']?.toString())
    expect(resolver.resolve(request({ headers: { 'x-key': 'acme' } }))).toBe('acme')
    expect(resolver.resolve(request())).toBeUndefined()
  })

  it('says nothing for undefined and null', async () => {
    expect(returning(undefined)).toBeUndefined()
    expect(returning(null)).toBeUndefined()
    await expect(returning(Promise.resolve(null))).resolves.toBeUndefined()
  })

  it.each([0, 7, false, true, {}, ['acme'], new String('acme'), { identifier: 'acme' }, () => 'acme'])(
    'takes anything else for a malformed claim (case %#)',
    async (answer) => {
      expect(returning(answer)).toBe('')
      await expect(returning(Promise.resolve(answer))).resolves.toBe('')
    },
  )

  it('may be asynchronous, also as a bare thenable', async () => {
    await expect(returning(Promise.resolve('acme'))).resolves.toBe('acme')
    // oxlint-disable-next-line unicorn/no-thenable -- a query builder is one
    await expect(returning({ then: (done: (claim: string) => void) => done('acme') })).resolves.toBe('acme')
  })

  it('passes on what the function throws', async () => {
    const failure = new TypeError('no')
    expect(() =>
      customResolver(() => {
        throw failure
      }).resolve(request()),
    ).toThrowError(failure)
    await expect(customResolver(() => Promise.reject(failure)).resolve(request())).rejects.toBe(failure)
  })

  it('is frozen and named, and needs a function', () => {
    expect(Object.isFrozen(customResolver(() => 'acme'))).toBe(true)
    expect(customResolver(() => 'acme').name).toBe('custom')
    expect(() => customResolver('acme' as unknown as CustomResolve)).toThrowError(
      expect.objectContaining({ code: 'TENANCY_ERR_CONFIG_INVALID' }),
    )
  })

  it('gives a slug or nothing, whatever comes back', async () => {
    await fc.assert(
      fc.asyncProperty(fc.oneof(fc.anything(), slugs), async (answer) => {
        const now = returning(answer)
        const later = await returning(Promise.resolve(answer))
        expect(later).toBe(now)
        const found = parseIdentifier(now)
        expect(found === undefined || (found === answer && slugRule.test(found))).toBe(true)
      }),
    )
  })
})
