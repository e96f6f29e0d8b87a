import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { configReference, configRules, parseConfig } from '../../src/config.ts'
import { command, page, tableIn, tableOf } from './write-configuration.ts'

const text = readFileSync(page, 'utf8')
const rows = configReference()

test('docs/configuration.md has the table of the schema', () => {
  expect(tableIn(text), `docs/configuration.md is out of date. Run: ${command}`).toBe(tableOf(rows))
})

test('every option is documented, and every documented option exists', () => {
  const documented = [...text.matchAll(/^\| `(\w+)` \|/gm)].map(([, option]) => option)
  expect(documented).toEqual(rows.map(({ option }) => option))
  const accepted = parseConfig({ databaseUrl: 'pglite:memory' }, {})
  expect(documented).toEqual(expect.arrayContaining(Object.keys(accepted)))
})

test('every variable is documented, and every documented variable exists', () => {
  const variables = rows.flatMap(({ variable }) => variable ?? [])
  const examples = ['TENANCY_TEST_', 'TENANCY_PORT', 'TENANCY_ERR_CONFIG_INVALID', 'TENANCY_']
  const documented = new Set([...text.matchAll(/TENANCY_[A-Z0-9_]*/g)].map(([name]) => name))
  expect([...documented].filter((name) => !examples.includes(name)).sort()).toEqual(variables.sort())
})

test('every row tells its meaning', () => {
  for (const row of rows) {
    for (const cell of [row.type, row.default, row.range, row.meaning]) expect(cell, row.option).toMatch(/\S/)
    expect(row.meaning, row.option).toMatch(/[.?]$/)
  }
})

test('every rule between options is told, in one line with all that it is about', () => {
  const lines = text.slice(text.indexOf('## Rules between options')).split(/\n- /)
  const told = (names: readonly string[]) =>
    lines.some((line) => names.every((name) => line.includes(`\`${name}\``) || line.includes(`\`${name}:`)))
  expect(configRules().filter((names) => !told(names))).toEqual([])
})
