import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { strategyNames } from '../../src/contracts/tenant.ts'
import { promisesOf } from '../../src/isolation/promises.ts'
import { rules } from '../../src/verification/rules.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const page = (name: string) => readFileSync(join(root, 'docs', name), 'utf8')
const doctor = page('doctor.md')

const documented = Array.from(
  doctor.matchAll(/^\| `([\w-]+)` \| (error|warning|info) \| (.+?) \| (.+?) \|$/gm),
  ([, ...row]) => row,
)
const designed = Array.from(doctor.matchAll(/^\| `([\w-]+)` \| (.+?) \| (test\/\S+) \|$/gm), ([, ...row]) => row)

const testFiles = readdirSync(join(root, 'test'), { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.test.ts'))
  .map((file) => `test/${file}`)

test('every rule is explained once, as it is, and every explained rule exists', () => {
  expect(documented).toEqual(expect.arrayContaining(Object.entries(rules).map(([id, rule]) => [id, ...rule])))
  expect(documented).toHaveLength(Object.keys(rules).length)
})

test('every number is a rule that is asked or one that the design keeps, and not both', () => {
  const ids = [...documented, ...designed].map(([id = '']) => id)
  const numbers = (prefix: string) =>
    ids.filter((id) => id.startsWith(prefix)).map((id) => Number(id.slice(prefix.length)))
  const upTo = (count: number) => Array.from({ length: count }, (_, at) => at + 1)
  expect(numbers('rls-').toSorted((a, b) => a - b)).toEqual(upTo(25))
  expect(numbers('schema-').toSorted((a, b) => a - b)).toEqual(upTo(20))
})

test('what the design keeps is shown by a test that has its number', () => {
  const titled = testFiles.flatMap((file) => {
    const titles = readFileSync(join(root, file), 'utf8').matchAll(
      /(?:\b(?:it|test)|\))\(\s*(['"`])((?:\[[\w-]+\] )+)/g,
    )
    const numbers = Array.from(titles, ([, , tags = '']) => tags.match(/(?:rls|schema)-\d+/g) ?? []).flat()
    return numbers.map((id) => `${id} ${file}`)
  })
  const named = designed.map(([id, , file]) => `${id} ${file}`)
  expect(named.filter((one) => !titled.includes(one))).toEqual([])
})

test('every rule says what must hold and what to do', () => {
  for (const [id, [, holds, cure]] of Object.entries(rules))
    for (const text of [holds, cure]) expect(text, id).toMatch(/\w.*\.$/)
})

test('docs/isolation.md promises what the code promises', () => {
  const table = /^\| `(\w+)`( with `tenantRoles`| \(default\))? \| .+ \| \**(guarded|walled)\** \|$/gm
  const rows = Array.from(page('isolation.md').matchAll(table), ([, strategy = '', how = '', level]) => [
    strategy,
    how.includes('Roles'),
    level,
  ])
  const promised = [false, true].flatMap((tenantRoles) =>
    promisesOf(strategyNames, { tenantRoles }).map(({ strategy, level }) => [
      strategy,
      tenantRoles && strategy === 'schema',
      level,
    ]),
  )
  expect(rows).toEqual(expect.arrayContaining(promised))
  expect(rows).toHaveLength(strategyNames.length + 1)
})
