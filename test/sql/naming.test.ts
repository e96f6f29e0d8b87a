import { randomUUID } from 'node:crypto'
import { expect, it } from 'vitest'
import { prefixedName } from '../../src/sql/naming.ts'
import { generateNamespace } from '../../src/util/identifier.ts'
import { random } from '../attack/random.ts'

it('[W6] names of two tenants are never equal, and two names of one never become one, however long', () => {
  const numbers = random(6)
  const letters = ['a', 'b', 'A', '_', '__', 'ä', '縗', '😀', '"', '`', ' ']
  const word = () => Array.from({ length: 1 + numbers.below(40) }, () => numbers.pick(letters)).join('')
  for (const maxBytes of [63, 64]) {
    const seen = new Map<string, string>()
    const names = new Set([...Array.from({ length: 2000 }, word), 'x'.repeat(80), `${'x'.repeat(80)}1`])
    for (const namespace of Array.from({ length: 5 }, () => generateNamespace(randomUUID()))) {
      for (const name of names) {
        const full = prefixedName(`${namespace}__`, name, maxBytes)
        expect(Buffer.byteLength(full)).toBeLessThanOrEqual(maxBytes)
        expect(Buffer.from(full).toString()).toBe(full)
        expect(seen.get(full), full).toBeUndefined()
        seen.set(full, `${namespace} ${name}`)
      }
    }
  }
})
