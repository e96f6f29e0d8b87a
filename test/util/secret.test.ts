import { format, inspect } from 'node:util'
import { expect, test } from 'vitest'
import { describeUrl, parseUrl, REDACTED, secret } from '../../src/util/secret.ts'

const PASSWORD = 'hunter2'

test('[W47] a secret is revealed on request and by nothing else', () => {
  const url = secret(`postgres://app:${PASSWORD}@db:5432/saas`)
  expect(url.reveal()).toBe(`postgres://app:${PASSWORD}@db:5432/saas`)
  const prints = [
    inspect(url),
    inspect({ deep: [url] }, { depth: null, showHidden: true }),
    inspect(url, { customInspect: false, showHidden: true, getters: true }),
    JSON.stringify({ url }),
    JSON.stringify(Object.entries(url)),
    String(url),
    // oxlint-disable-next-line typescript/restrict-template-expressions -- the mistake under test
    `template ${url}`,
    format('%s %o %O %j', url, url, url, url),
    url.describe(),
  ]
  for (const print of prints) expect(print).not.toContain(PASSWORD)
  expect([inspect(url), JSON.stringify(url), String(url)]).toEqual([REDACTED, `"${REDACTED}"`, REDACTED])
  expect(Object.isFrozen(url)).toBe(true)
})

test.each([
  [`postgres://app:${PASSWORD}@db:5432/saas`, 'postgres://app:***@db:5432/saas'],
  [`postgresql://app:${PASSWORD}@[::1]:5432/saas`, 'postgresql://app:***@[::1]:5432/saas'],
  [`redis://:${PASSWORD}@cache:6379/0`, 'redis://:***@cache:6379/0'],
  [`rediss://u:${PASSWORD}@cache`, 'rediss://u:***@cache'],
  [`postgres://app@db/saas?password=${PASSWORD}`, 'postgres://app@db/saas?password=***'],
  [`postgres://db/saas?sslmode=require&password=${PASSWORD}`, 'postgres://db/saas?sslmode=***&password=***'],
  [`postgres://app:p@${PASSWORD}@db/saas`, 'postgres://app:***@db/saas'],
  [`postgres://app:${PASSWORD}@/saas?host=/run`, 'postgres://app:***@/saas?host=***'],
  ['postgres://db/saas', 'postgres://db/saas'],
  ['pglite:memory', 'pglite:memory'],
  ['pglite:./data/db', 'pglite:./data/db'],
])('[W47] %s is described as %s', (url, description) => {
  expect(describeUrl(url)).toBe(description)
})

test.each([
  `postgres://app:12/${PASSWORD}@db/saas`,
  `postgres://app:12?${PASSWORD}@db/saas`,
  `postgres://app:12#${PASSWORD}@db/saas`,
  `postgres://app:x/${PASSWORD}@db/saas`,
  `postgres://app:${PASSWORD}@one:1,two:2/saas`,
  `postgres://app:a@/${PASSWORD}@db/saas`,
  `app:${PASSWORD}@db`,
  `pglite:x?password=${PASSWORD}`,
  `${PASSWORD}:x`,
  PASSWORD,
  '',
])('[W47] %j cannot be told apart and is redacted', (url) => {
  expect(describeUrl(url)).toBe(REDACTED)
})

test('the fragment of a URL is not described', () => {
  expect(describeUrl(`postgres://app@db/saas#${PASSWORD}`)).toBe('postgres://app@db/saas')
})

test('parseUrl reads the URL of a Unix socket', () => {
  expect(parseUrl('postgres://app:pw@/saas?host=/run')?.pathname).toBe('/saas')
  expect(parseUrl('no url')).toBeUndefined()
})
