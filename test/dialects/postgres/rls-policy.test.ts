import { currentTenant } from '../../../src/dialects/postgres/rls/current-tenant.ts'
import { describe, expect, it } from 'vitest'
import {
  createPolicy,
  isSameExpression,
  TENANT_TYPES,
  tenantPolicies,
} from '../../../src/dialects/postgres/rls/policy.ts'
import type { SharedTable } from '../../../src/dialects/postgres/rls/catalogue.ts'
import { tableFindings } from '../../../src/dialects/postgres/rls/table-findings.ts'

describe('a tenant policy', () => {
  const [permit, restrict] = tenantPolicies('tenant_id', 'uuid')

  it('evaluates the tenant once, casts it inside and the column nowhere, and has no OR', () => {
    expect(permit?.rule).toBe(`"tenant_id" = (select (nullif(current_setting('app.current_tenant', true), ''))::uuid)`)
    expect(restrict?.rule).toBe(permit?.rule)
    expect(permit?.rule).not.toMatch(/\bor\b/i)
  })

  it('is one permissive and one restrictive, for all commands and roles, for reading and writing', () => {
    expect([permit?.permissive, restrict?.permissive]).toEqual([true, false])
    const text = restrict === undefined ? '' : createPolicy(restrict, '"rls"."items"')
    expect(text).toBe(
      `create policy "${restrict?.name}" on "rls"."items" as restrictive for all to public using (${restrict?.rule}) with check (${restrict?.rule})`,
    )
  })

  it('has another name when it has another rule', () => {
    const names = TENANT_TYPES.flatMap((type) => tenantPolicies('tenant_id', type)).map(({ name }) => name)
    const others = tenantPolicies('org', 'uuid').map(({ name }) => name)
    expect(new Set([...names, ...others]).size).toBe(2 * TENANT_TYPES.length + 2)
    expect(tenantPolicies('tenant_id', 'uuid')[0]?.name).toBe(permit?.name)
  })

  it('quotes a column that could be anything', () => {
    expect(tenantPolicies('a"b', 'uuid')[0]?.rule).toContain('"a""b" = ')
  })
})

describe('isSameExpression', () => {
  const tenant = `NULLIF(current_setting('app.current_tenant'::text, true), ''::text)`

  it.each([
    ['uuid', `(tenant_id = ( SELECT (${tenant})::uuid AS "nullif"))`],
    ['text', `(tenant_id = ( SELECT ${tenant} AS "nullif"))`],
    ['character varying', `((tenant_id)::text = (( SELECT (${tenant})::character varying AS "nullif"))::text)`],
  ])('knows a rule in the writing of PostgreSQL: %s', (type, written) => {
    for (const { rule } of tenantPolicies('tenant_id', type)) expect(isSameExpression(written, rule)).toBe(true)
    expect(isSameExpression(`(${tenant})::${type}`, currentTenant(type))).toBe(true)
  })

  it.each([
    [null],
    ['true'],
    ['(tenant_id IS NOT NULL)'],
    [`(other_id = ( SELECT (${tenant})::uuid AS "nullif"))`],
    [`((tenant_id = ( SELECT (${tenant})::uuid AS "nullif")) OR true)`],
    [`(tenant_id <> ( SELECT (${tenant})::uuid AS "nullif"))`],
    [`(tenant_id = ( SELECT (NULLIF(current_setting('app.other'::text, true), ''::text))::uuid AS "nullif"))`],
    [`(tenant_id = ( SELECT (${tenant.replace("''", "'x'")})::uuid AS "nullif"))`],
  ])('and no other: %s', (written) => {
    expect(isSameExpression(written, tenantPolicies('tenant_id', 'uuid')[0]?.rule ?? '')).toBe(false)
  })
})

describe('what a table lacks', () => {
  const bare: SharedTable = {
    name: 'items',
    kind: 'r',
    exact: true,
    enabled: false,
    forced: false,
    type: 'uuid',
    required: false,
    default: null,
    indexed: false,
    excess: [],
    granted: false,
    owned: false,
    policies: [],
  }
  const at = { schema: 'rls', column: 'tenant_id', internal: ['ledger'], role: 'app' }
  const repairs = (table: SharedTable, role: string | null = 'app') =>
    tableFindings(table, { ...at, role }).flatMap(({ repair }) => repair)

  it('is given in an order in which the serving role gets rows last', () => {
    const [permit, restrict] = tenantPolicies('tenant_id', 'uuid').map((policy) =>
      createPolicy(policy, '"rls"."items"'),
    )
    expect(repairs(bare)).toEqual([
      'alter table "rls"."items" enable row level security',
      'alter table "rls"."items" force row level security',
      permit,
      restrict,
      'alter table "rls"."items" alter "tenant_id" set not null',
      `alter table "rls"."items" alter "tenant_id" set default ${currentTenant('uuid')}`,
      'create index on "rls"."items" ("tenant_id")',
      'grant select, insert, update, delete on "rls"."items" to "app"',
    ])
    expect(repairs(bare, null).at(-1)).toMatch(/^create index/)
  })

  it('takes rights from everybody and the serving role, as far as there are any', () => {
    const excessive = { ...bare, excess: ['REFERENCES', 'TRUNCATE'] }
    expect(repairs(excessive)).toContain('revoke REFERENCES, TRUNCATE on "rls"."items" from public, "app"')
    expect(repairs(excessive, null)).toContain('revoke REFERENCES, TRUNCATE on "rls"."items" from public')
  })

  it('puts new policies before it takes old ones, and keeps those that are not ours', () => {
    const old = { name: 'tenancy_permit_old', permissive: true, general: true, using: 'true', check: 'true' }
    const stranger = { ...old, name: 'mine' }
    const statements = repairs({ ...bare, policies: [stranger, old] }).filter((text) => text.includes('policy'))
    expect(statements).toHaveLength(3)
    expect(statements[2]).toBe('drop policy "tenancy_permit_old" on "rls"."items"')
    const found = tableFindings({ ...bare, policies: [stranger] }, at)
    expect(found.filter(({ severity, rule }) => severity === 'warning' && rule === 'policies')).toHaveLength(1)
  })

  it.each([
    [null, /no column tenant_id/],
    ['inet', /is inet/],
  ])('cannot be given to a table whose tenant column is %s', (type, detail) => {
    expect(tableFindings({ ...bare, type }, at)).toEqual([
      expect.objectContaining({
        rule: 'tenant column',
        severity: 'breach',
        repair: [],
        detail: expect.stringMatching(detail) as string,
      }),
    ])
  })
})
