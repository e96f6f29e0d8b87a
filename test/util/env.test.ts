import { expect, test } from 'vitest'
import { closest, fromText, variableName } from '../../src/util/env.ts'

test.each([
  ['hook', 'TENANCY_HOOK'],
  ['databaseUrl', 'TENANCY_DATABASE_URL'],
  ['l1CacheMaxSize', 'TENANCY_L1_CACHE_MAX_SIZE'],
])('the variable of %s is %s', (option, variable) => {
  expect(variableName(option)).toBe(variable)
})

test.each(['text', 'integer', 'boolean', 'list', 'json'] as const)('a blank %s is not set', (kind) => {
  for (const text of [undefined, '', ' ', '\n']) expect(fromText(text, kind)).toBeUndefined()
})

test.each([
  ['20', 20],
  [' 20\n', 20],
  ['-1', -1],
  ['1.5', '1.5'],
  ['1e3', '1e3'],
  ['0x10', '0x10'],
  ['20s', '20s'],
])('integer %j is %j', (text, value) => {
  expect(fromText(text, 'integer')).toBe(value)
})

test.each(['true', 'TRUE', '1', 'yes', 'Yes', 'on', ' on '])('boolean %j is true', (text) => {
  expect(fromText(text, 'boolean')).toBe(true)
})

test.each(['false', 'False', '0', 'no', 'off'])('boolean %j is false', (text) => {
  expect(fromText(text, 'boolean')).toBe(false)
})

test.each(['maybe', 'y', '2', 'constructor', '__proto__'])('boolean %j stays as it is', (text) => {
  expect(fromText(text, 'boolean')).toBe(text)
})

test.each([
  ['a', ['a']],
  ['a, b,,c ,', ['a', 'b', 'c']],
  ['["a","b,c"]', ['a', 'b,c']],
  ['[]', []],
  ['["a"', '["a"'],
])('list %j is %j', (text, value) => {
  expect(fromText(text, 'list')).toEqual(value)
})

test('text is trimmed', () => {
  expect(fromText(' a,b \n', 'text')).toBe('a,b')
})

test.each([
  ['databaseURL', 'databaseUrl'],
  ['database_url', 'databaseUrl'],
  ['databseUrl', 'databaseUrl'],
  ['hok', 'hook'],
  ['TENANCY_DATABASE', 'databaseUrl'],
  ['TENANCY_HOOKS', 'hook'],
  ['colour', undefined],
])('the closest to %s is %s', (word, expected) => {
  expect(closest(word, ['databaseUrl', 'hook', 'migrations'])).toBe(expected)
})

test.each([
  ['{"a":1}', { a: 1 }],
  [' [1] ', [1]],
  ['{"a":1', '{"a":1'],
])('json %j is %j', (text, value) => {
  expect(fromText(text, 'json')).toEqual(value)
})
