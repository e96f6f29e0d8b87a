import { describe, expect, test } from 'vitest'
import type { Scope } from '../../../src/contracts/isolation.ts'
import { DdlRefusal } from '../../../src/contracts/migrator.ts'
import { createDdlParser } from '../../../src/dialects/postgres/rewrite-ddl.ts'

const parse = createDdlParser({
  extensionsSchema: 'extensions',
  rlsSchema: 'shared',
  prefixSchema: 'prefixed',
  tenantColumn: 'tenant_id',
})
const namespace = `t${'0'.repeat(25)}`
const scope = (strategy: Scope['strategy']): Scope => ({
  tenantId: 'x',
  server: 'default',
  namespace,
  strategy,
  settings: {},
})

describe('a migration of PostgreSQL', () => {
  test('loses its "public" in a schema, and gets schema and prefix where tenants share one', () => {
    const template = parse('ALTER TABLE "o" ADD CONSTRAINT "fk" FOREIGN KEY ("c") REFERENCES "public"."c"("id");')
    for (const strategy of ['schema', 'rls', 'database'] as const) {
      expect(template.render(scope(strategy))).toBe(
        'ALTER TABLE "o" ADD CONSTRAINT "fk" FOREIGN KEY ("c") REFERENCES "c"("id");',
      )
    }
    expect(template.render(scope('prefix'))).toBe(
      `ALTER TABLE "prefixed"."${namespace}__o" ADD CONSTRAINT "${namespace}__fk" FOREIGN KEY ("c") REFERENCES "prefixed"."${namespace}__c"("id");`,
    )
  })

  test('makes no schema "public" anywhere', () => {
    const template = parse('CREATE SCHEMA "public";')
    expect(template.render(scope('schema'))).toBe('')
    expect(template.render(scope('prefix'))).toBe('')
  })

  test('that holds a function is refused only where names are written into the text', () => {
    const template = parse('CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$ SELECT 1 $$')
    expect(template.render(scope('schema'))).toContain('CREATE FUNCTION')
    expect(() => template.render(scope('prefix'))).toThrow(DdlRefusal)
    expect(() => template.render(scope('prefix'))).toThrow(/FUNCTION.*names in its body/s)
  })
})
