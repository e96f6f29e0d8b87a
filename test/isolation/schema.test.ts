import { randomUUID } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { schemaStrategy } from '../../src/isolation/schema.ts'

const strategy = schemaStrategy({ extensionsSchema: 'extensions' })

describe('schemaStrategy', () => {
  it('needs what makes a schema a wall of its own', () => {
    expect(strategy.name).toBe('schema')
    expect([...strategy.needs].sort()).toEqual(['schemas', 'searchPath', 'transactionalDdl'])
  })

  it('[W5] [W6] places a tenant by its id, so that a rename moves nothing and no two share a namespace', () => {
    const id = randomUUID()
    expect(strategy.place(id)).toEqual({
      strategy: 'schema',
      server: 'main',
      namespace: expect.stringMatching(/^t[0-9a-z]{25}$/) as string,
    })
    expect(strategy.place(id)).toEqual(strategy.place(id))
    fc.assert(
      fc.property(fc.uniqueArray(fc.uuid(), { minLength: 2, maxLength: 20 }), (ids) => {
        expect(new Set(ids.map((each) => strategy.place(each).namespace)).size).toBe(ids.length)
      }),
    )
  })

  it('[W5] scopes by the stored placement and never derives it again', () => {
    const id = randomUUID()
    const placement = { strategy: 'schema', server: 'other', namespace: 'tstored' } as const
    expect(strategy.scope({ id, placement })).toEqual({
      tenantId: id,
      server: 'other',
      namespace: 'tstored',
      searchPath: ['tstored', 'extensions', 'pg_temp'],
      settings: {},
    })
  })

  it('[W1] [W9] never has `public` on the path, and temporary tables last', () => {
    for (const extensionsSchema of ['extensions', 'ext', 'Shared Things']) {
      const own = schemaStrategy({ extensionsSchema })
      const id = randomUUID()
      const placement = own.place(id)
      expect(own.scope({ id, placement }).searchPath).toEqual([placement.namespace, extensionsSchema, 'pg_temp'])
    }
  })

  it('makes scopes that nobody can change afterwards', () => {
    const id = randomUUID()
    const scope = strategy.scope({ id, placement: strategy.place(id) })
    for (const part of [strategy, scope, scope.searchPath, scope.settings]) expect(Object.isFrozen(part)).toBe(true)
  })
})
