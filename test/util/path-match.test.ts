import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isAtOrBelow, pathMatcher } from '../../src/util/path-match.ts'

describe('pathMatcher', () => {
  it.each(['/health', '/health/', '/health/live', '/health/*', '/health/:check'])('covers %s by /health', (url) => {
    expect(pathMatcher(['/health'])(url)).toBe(true)
    expect(pathMatcher(['/health/'])(url)).toBe(true)
  })

  it.each([
    '/healthcare-records',
    '/healthz',
    '/health-check',
    '/health.json',
    '/healt',
    '/',
    '',
    '/Health',
    '/v1/health',
  ])('[W16] does not cover %j by /health', (url) => {
    expect(pathMatcher(['/health'])(url)).toBe(false)
    expect(pathMatcher(['/health/'])(url)).toBe(false)
  })

  it('covers nothing without prefixes, and what any of several covers', () => {
    expect(pathMatcher([])('/health')).toBe(false)
    const matches = pathMatcher(['/docs', '/health/live'])
    expect(['/docs/json', '/health/live', '/health', '/health/lively'].map(matches)).toEqual([true, true, false, false])
  })

  it('takes / for the root alone, so that it does not switch tenancy off everywhere', () => {
    const matches = pathMatcher(['/'])
    expect(['/', '', '/orders', '/*'].map(matches)).toEqual([true, true, false, false])
  })

  it('reads the prefixes once', () => {
    const prefixes = ['/health']
    const matches = pathMatcher(prefixes)
    prefixes.push('/orders')
    expect(matches('/orders')).toBe(false)
  })

  it.each([
    '',
    'health',
    'https://example.com/health',
    '/health*',
    '/*',
    '/a?b',
    '/a#b',
    '/a b',
    '/a\n',
    '//',
    '/a//b',
    '/a\\b',
  ])('refuses the prefix %j', (prefix) => {
    expect(() => pathMatcher(['/ok', prefix])).toThrowError(
      expect.objectContaining({ code: 'TENANCY_ERR_CONFIG_INVALID' }),
    )
  })

  it('refuses a prefix that is no string', () => {
    expect(() => pathMatcher([7 as unknown as string])).toThrowError(/received number/)
  })

  it('[W16] compares whole segments, whatever they are', () => {
    const segment = fc.stringMatching(/^[a-z0-9-]{1,4}$/)
    const segments = fc.array(segment, { minLength: 1, maxLength: 4 })
    fc.assert(
      fc.property(segments, segments, (prefix, url) => {
        const covered = prefix.every((part, i) => url[i] === part)
        expect(pathMatcher([`/${prefix.join('/')}`])(`/${url.join('/')}`)).toBe(covered)
        expect(isAtOrBelow(`/${url.join('/')}`, `/${prefix.join('/')}`)).toBe(covered)
        expect(pathMatcher([`/${prefix.join('/')}`])(`/${prefix.join('/')}x`)).toBe(false)
      }),
    )
  })
})
