import { randomUUID } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { strategyNames } from '../../src/contracts/tenant.ts'
import { hybridStrategy } from '../../src/isolation/hybrid.ts'
import { namespaceStrategy } from '../../src/isolation/namespace.ts'
import { rlsStrategy } from '../../src/isolation/rls.ts'

const strategies = [...(['schema', 'database', 'prefix'] as const).map(namespaceStrategy), rlsStrategy()]
const notConfigured = expect.objectContaining({ code: 'TENANCY_ERR_STRATEGY_NOT_CONFIGURED' }) as Error
const unsupported = expect.objectContaining({ code: 'TENANCY_ERR_STRATEGY_UNSUPPORTED' }) as Error

function tenant(id: string = randomUUID()) {
  return { id, identifier: 'acme', metadata: {} }
}

describe.each(strategies)('the strategy $name', (strategy) => {
  it('needs a database that carries it', () => {
    expect(strategy.needs).toEqual([strategy.name])
  })

  it('[W5] [W6] [schema-7] places a tenant by its id, so that a rename moves nothing and no two share a namespace', () => {
    const one = tenant()
    expect(strategy.place(one)).toEqual({
      strategy: strategy.name,
      server: 'main',
      namespace: expect.stringMatching(/^t[0-9a-z]{25}$/) as string,
      rowKey: one.id,
    })
    expect(strategy.place({ ...one, identifier: 'renamed' })).toEqual(strategy.place(one))
    fc.assert(
      fc.property(fc.uniqueArray(fc.uuid(), { minLength: 2, maxLength: 20 }), (ids) => {
        expect(new Set(ids.map((id) => strategy.place(tenant(id)).namespace)).size).toBe(ids.length)
      }),
    )
  })

  it('[W5] [schema-7] scopes by the stored placement and never derives it again', () => {
    const id = randomUUID()
    const placement = { strategy: strategy.name, server: 'other', namespace: 'tstored', rowKey: '42' } as never
    expect(strategy.scope({ id, placement })).toEqual({
      tenantId: id,
      server: 'other',
      namespace: 'tstored',
      strategy: strategy.name,
      settings: strategy.name === 'rls' ? { 'app.current_tenant': '42' } : {},
      rowKey: '42',
    })
  })

  it('[W53] refuses a tenant that another strategy placed, and one that asks for another', () => {
    for (const other of strategyNames.filter((name) => name !== strategy.name)) {
      const placement = { strategy: other, server: 'main', namespace: 'tstored', rowKey: '42' }
      expect(() => strategy.scope({ id: randomUUID(), placement })).toThrow(notConfigured)
      expect(() => strategy.place({ ...tenant(), strategy: other })).toThrow(unsupported)
    }
  })

  it('makes placements and scopes that nobody can change afterwards', () => {
    const one = tenant()
    const placement = strategy.place(one)
    const scope = strategy.scope({ id: one.id, placement })
    for (const part of [strategy, strategy.needs, placement, scope, scope.settings]) {
      expect(Object.isFrozen(part)).toBe(true)
    }
  })
})

describe('the hybrid', () => {
  const hybrid = hybridStrategy({
    strategies: [namespaceStrategy('schema'), rlsStrategy()],
    choose: ({ metadata }) => (metadata['tier'] === 'premium' ? 'schema' : 'rls'),
  })

  it('needs what its strategies need', () => {
    expect(hybrid.needs).toEqual(['schema', 'rls'])
  })

  it('[W35] chooses by what the tenant says, and stores the choice', () => {
    const premium = hybrid.place({ ...tenant(), metadata: { tier: 'premium' } })
    expect(premium.strategy).toBe('schema')
    expect(hybrid.place(tenant()).strategy).toBe('rls')
    // The stored choice counts, whatever the rule would say now.
    expect(hybrid.scope({ id: randomUUID(), placement: premium }).strategy).toBe('schema')
  })

  it('[W53] takes a strategy that is asked for, if it is configured', () => {
    expect(hybrid.place({ ...tenant(), strategy: 'schema' }).strategy).toBe('schema')
    expect(() => hybrid.place({ ...tenant(), strategy: 'database' })).toThrow(unsupported)
    const placement = { strategy: 'prefix', server: 'main', namespace: 'tstored', rowKey: '42' } as const
    expect(() => hybrid.scope({ id: randomUUID(), placement })).toThrow(notConfigured)
  })

  it('refuses what the rule names and nobody configured', () => {
    const odd = hybridStrategy({ strategies: [rlsStrategy()], choose: () => 'nonsense' })
    expect(() => odd.place(tenant())).toThrow(unsupported)
  })
})
