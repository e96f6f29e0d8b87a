import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import * as sources from '../../src/events.ts'

it('docs/events.md lists every event, and none that is not there', () => {
  const page = readFileSync(new URL('../../docs/events.md', import.meta.url), 'utf8')
  const listed = Array.from(page.matchAll(/^\| `(fastify-tenancy:[^`]+)`/gm), ([, name]) => name)
  const made = Object.values(sources.events).map((event) => (event as unknown as { name: string }).name)
  expect(new Set(listed)).toEqual(new Set(made))
})
