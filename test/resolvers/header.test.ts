import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { headerResolver } from '../../src/resolvers/header.ts'
import { hostileValues, identify, request, slugRule, slugs, timeThousand } from './request.ts'

const resolver = headerResolver()

describe('headerResolver', () => {
  it('reads x-tenant-id', () => {
    expect(resolver.resolve(request({ headers: { 'x-tenant-id': 'acme' } }))).toBe('acme')
  })

  it('reads the header it is told to, in any case', () => {
    const custom = headerResolver({ name: 'X-Org' })
    expect(custom.resolve(request({ headers: { 'x-org': 'acme', 'x-tenant-id': 'beta' } }))).toBe('acme')
    expect(custom.resolve(request({ headers: { 'x-tenant-id': 'beta' } }))).toBeUndefined()
  })

  it('says nothing without the header', () => {
    expect(resolver.resolve(request())).toBeUndefined()
  })

  it('drops spaces and tabs around the value, nothing else', () => {
    expect(identify(resolver, { headers: { 'x-tenant-id': ' \tacme\t ' } })).toBe('acme')
    expect(identify(resolver, { headers: { 'x-tenant-id': 'acme\n' } })).toBeUndefined()
    expect(identify(resolver, { headers: { 'x-tenant-id': '\u00A0acme' } })).toBeUndefined()
  })

  it.each(['', ' ', '\t \t'])('takes the blank value %j for a malformed claim', (value) => {
    expect(resolver.resolve(request({ headers: { 'x-tenant-id': value } }))).toBe('')
  })

  it.each([[['acme', 'acme']], [['acme', 'beta']], [['acme']], [[]]])('refuses the repeated header %j', (value) => {
    expect(resolver.resolve(request({ headers: { 'x-tenant-id': value } }))).toBe('')
  })

  it.each(['acme, acme', 'acme, beta', 'acme, ', ', acme', ', '])('refuses %j, as Node joins repetitions', (value) => {
    expect(resolver.resolve(request({ headers: { 'x-tenant-id': value } }))).toBeTypeOf('string')
    expect(identify(resolver, { headers: { 'x-tenant-id': value } })).toBeUndefined()
  })

  it.each(hostileValues.map((value) => [value.slice(0, 30), value]))('refuses %j', (_, value) => {
    expect(resolver.resolve(request({ headers: { 'x-tenant-id': value } }))).toBeTypeOf('string')
    expect(identify(resolver, { headers: { 'x-tenant-id': value } })).toBeUndefined()
  })

  it('is not fooled by what every object inherits', () => {
    expect(identify(headerResolver({ name: 'constructor' }), {})).toBeUndefined()
    expect(identify(headerResolver({ name: '__proto__' }), {})).toBeUndefined()
  })

  it.each([
    '',
    ' ',
    'x tenant',
    'x-tenant:',
    'x-tenant\n',
    'x-ténant',
    'Host',
    'authorization',
    'cookie',
    'set-cookie',
    'From',
  ])('cannot be made for the header %j', (name) => {
    expect(() => headerResolver({ name })).toThrowError(expect.objectContaining({ code: 'TENANCY_ERR_CONFIG_INVALID' }))
  })

  it('does not read on in an over-long value, even one that is blank but for the slug', () => {
    expect(identify(resolver, { headers: { 'x-tenant-id': `${' '.repeat(508)}acme` } })).toBe('acme')
    expect(identify(resolver, { headers: { 'x-tenant-id': `${' '.repeat(509)}acme` } })).toBeUndefined()
  })

  it('is frozen and named', () => {
    expect(Object.isFrozen(resolver)).toBe(true)
    expect(resolver.name).toBe('header')
    expect(() => headerResolver({ name: 7 as unknown as string })).toThrowError(/received number/)
  })

  it('gives a slug or nothing, and only the slug that was sent', () => {
    const value = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.string({ unit: fc.constantFrom(...Array.from('abz09-_, \t\n\0.%')) }),
      fc.array(fc.string()),
      fc.tuple(fc.stringMatching(/^[ \t]{0,3}$/), slugs, fc.stringMatching(/^[ \t]{0,3}$/)).map((p) => p.join('')),
    )
    fc.assert(
      fc.property(value, (sent) => {
        const found = identify(resolver, { headers: { 'x-tenant-id': sent } })
        const slug = typeof sent === 'string' ? sent.replaceAll(/^[ \t]+|[ \t]+$/g, '') : ''
        expect(found).toBe(slugRule.test(slug) ? slug : undefined)
      }),
      { numRuns: 1000 },
    )
  })

  it.each(['a', ' ', ', ', '\t!'])('takes bounded time for 64 KB of %j', (unit) => {
    const headers = { 'x-tenant-id': unit.repeat((64 * 1024) / unit.length) }
    expect(timeThousand(() => identify(resolver, { headers }))).toBeLessThan(800)
  })
})
