import { expect, test } from 'vitest'
import { parseConfig, type TenancyOptions } from '../src/config.ts'
import { configuredResolver } from '../src/resolver.ts'
import { identify } from './resolvers/request.ts'

const resolverFor = (options: TenancyOptions) =>
  configuredResolver(parseConfig({ databaseUrl: 'postgres://app@db/saas', ...options }, {}))

test('pathPrefix is where the tenant is looked for, and nowhere else', () => {
  const found = (options: TenancyOptions, originalUrl: string) =>
    identify(resolverFor({ resolutionStrategy: 'path', ...options }), { originalUrl })
  expect(found({}, '/tenants/acme/orders')).toBe('acme')
  expect(found({ pathPrefix: '/v1/orgs' }, '/v1/orgs/acme/orders')).toBe('acme')
  expect(found({ pathPrefix: '/v1/orgs' }, '/tenants/acme/orders')).toBeUndefined()
})

test('resolutionMustAgree wants the same tenant of all resolvers, also in a chain with a prefix of its own', () => {
  const chain = { resolutionStrategy: ['header', 'path'] } as const
  const found = (options: TenancyOptions, tenant: string | undefined, originalUrl: string) =>
    identify(resolverFor({ ...chain, ...options }), {
      headers: tenant === undefined ? {} : { 'x-tenant-id': tenant },
      originalUrl,
    })
  const agreed = { resolutionMustAgree: true, pathPrefix: '/orgs' }
  expect(found(agreed, 'acme', '/orgs/acme')).toBe('acme')
  expect(found(agreed, 'acme', '/orgs/globex')).toBeUndefined()
  expect(found(agreed, 'acme', '/')).toBeUndefined()
  expect(found(agreed, undefined, '/orgs/acme')).toBeUndefined()
  // Otherwise the first that says something.
  expect(found({}, 'acme', '/tenants/globex')).toBe('acme')
  expect(found({}, undefined, '/tenants/globex')).toBe('globex')
})
