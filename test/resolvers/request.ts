import * as fc from 'fast-check'
import type { ResolvableRequest, TenantResolver } from '../../src/contracts/resolver.ts'
import { parseIdentifier } from '../../src/util/identifier.ts'

/** A request as a resolver sees it; the real ones are in fastify.test.ts. */
export function request(parts: Partial<ResolvableRequest> = {}): ResolvableRequest {
  return { headers: {}, host: 'localhost:3000', originalUrl: '/', ...parts }
}

/** The tenant a synchronous resolver finds, checked as the plugin does it. */
export function identify(resolver: TenantResolver, parts: Partial<ResolvableRequest>): string | undefined {
  return parseIdentifier(resolver.resolve(request(parts)))
}

/** The rule of identifiers, written a second time on purpose. */
export const slugRule = /^(?!..--)[a-z][a-z0-9-]{1,61}[a-z0-9]$/

/** Slugs, and near misses with `--` in third place. */
export const slugs = fc.stringMatching(/^[a-z][a-z0-9-]{1,61}[a-z0-9]$/)

/** Values that look like the slug acme, or like an attack. */
export const hostileValues = [
  'Acme',
  'acme\n',
  'acme\r\nx-tenant-id: beta',
  'acme\0',
  '\0',
  "acme'",
  'acme"',
  'acme;',
  'acme,beta',
  'acme, beta',
  'pg_catalog',
  'pg_',
  'xn--acme',
  'acme%2fbeta',
  'acme%00',
  'a%63me',
  '..',
  '../beta',
  'аcme',
  'ac\u212Ae',
  'acme\u200B',
  'acme\u00A0',
  '\u2028acme',
  'a'.repeat(64),
  'a'.repeat(64 * 1024),
  `${' '.repeat(64 * 1024)}!`,
]

/** Milliseconds of 1,000 runs. */
export function timeThousand(work: () => unknown): number {
  const start = process.cpuUsage()
  for (let i = 0; i < 1000; i++) work()
  return process.cpuUsage(start).user / 1000
}
