import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { errorTable } from '../../src/errors.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const page = readFileSync(join(root, 'docs/errors.md'), 'utf8')

interface Row {
  readonly code: string
  readonly status: number
  readonly meaning: string
  readonly advice: string
}

const rows: Row[] = Array.from(
  page.matchAll(/^\| `(\w+)` \| (\d+) \| (.+?) \| (.+?) \|$/gm),
  ([, code = '', status, meaning = '', advice = '']) => ({ code, status: Number(status), meaning, advice }),
)
const codes = Object.keys(errorTable)

test('every code is explained once, and every explained code exists', () => {
  expect(rows.map(({ code }) => code).sort()).toEqual(codes.toSorted())
  const mentioned = new Set(Array.from(page.matchAll(/TENANCY_ERR_\w+/g), ([code]) => code))
  expect([...mentioned].filter((code) => !codes.includes(code))).toEqual([])
})

test('its status is the one of the table', () => {
  const documented = Object.fromEntries(rows.map(({ code, status }) => [code, status]))
  expect(documented).toEqual(Object.fromEntries(Object.entries(errorTable).map(([code, [status]]) => [code, status])))
})

test('every row says what it means and what to do', () => {
  for (const { code, meaning, advice } of rows)
    for (const cell of [meaning, advice]) expect(cell, code).toMatch(/\w.*\.$/)
})

test('[W70] every code is thrown somewhere', () => {
  const files = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
  const sources = files
    .filter((file) => file.endsWith('.ts') && file !== 'errors.ts')
    .map((file) => readFileSync(join(root, 'src', file), 'utf8'))
  expect(sources.length).toBeGreaterThan(40)
  expect(codes.filter((code) => !sources.some((text) => text.includes(`tenancyError('${code}'`)))).toEqual([])
})

test('[W70] every code that src mentions exists', () => {
  const files = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' }).filter((file) =>
    file.endsWith('.ts'),
  )
  const mentioned = files.flatMap(
    (file) => readFileSync(join(root, 'src', file), 'utf8').match(/TENANCY_ERR_[A-Z_]+/g) ?? [],
  )
  expect([...new Set(mentioned)].filter((code) => code !== 'TENANCY_ERR_' && !codes.includes(code))).toEqual([])
})
