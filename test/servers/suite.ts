import { describe, inject, test } from 'vitest'
import type { Servers } from './types.ts'

export type ServerName = Exclude<keyof Servers, 'waived'>

/** Exactly the servers a suite asked for, none of them missing. */
export type Needed<Name extends ServerName> = Required<Pick<Servers, Name>>

/**
 * `describe` for a suite that needs servers. A waived server skips the suite, visibly; any other way of missing it fails.
 *
 *     describeWith(['postgres18', 'pgbouncer18'], 'pooling', ({ postgres18, pgbouncer18 }) => { … })
 */
export function describeWith<Name extends ServerName>(
  names: readonly Name[],
  title: string,
  body: (servers: Needed<Name>) => void,
): void {
  const servers = inject('servers')
  if (hasAll(servers, names)) {
    describe(title, () => body(servers))
    return
  }
  const missing = names.filter((name) => servers[name] === undefined)
  if (servers.waived.length === 0) throw new Error(`The global setup did not start ${missing.join(', ')}.`)
  describe.skip(`${title} (WAIVED: needs ${missing.join(', ')})`, () => {
    test('skipped', () => {})
  })
}

function hasAll<Name extends ServerName>(servers: Servers, names: readonly Name[]): servers is Servers & Needed<Name> {
  return names.every((name) => servers[name] !== undefined)
}
