import { eq } from 'drizzle-orm-v1'
import { int, mssqlSchema, nvarchar } from 'drizzle-orm-v1/mssql-core'
import { drizzle } from 'drizzle-orm-v1/node-mssql'
import { describe, expect, it } from 'vitest'
import { type Scope, TENANT_SETTING } from '../../../src/contracts/isolation.ts'
import type { StrategyName } from '../../../src/contracts/tenant.ts'
import type { MssqlStatement, SessionTenant } from '../../../src/dialects/mssql/drivers/mssql-statement.ts'
import { admit, type TenantSession } from '../../../src/dialects/mssql/drivers/mssql-tenant-session.ts'
import { layoutOf } from '../../../src/dialects/mssql/layout.ts'
import { mssqlProfile } from '../../../src/dialects/mssql/profile.ts'
import { scopedBatch } from '../../../src/dialects/mssql/scope-batch.ts'
import { createTextScoper, TENANT_TOKEN } from '../../../src/sql/scoped-text.ts'
import { open } from '../../support/database.ts'

/*
 * What is written for a tenant, for those who have no SQL Server. One function writes each statement of a pool and of a
 * transaction, and sees nothing but that statement: what was begun, committed or sent before cannot matter.
 */

const shared = { rlsSchema: 'rls', prefixSchema: 'prefixed', tenantColumn: 'tenant_id' }

/** As the tables of an application are, once they are adopted. */
const orders = mssqlSchema(TENANT_TOKEN).table('orders', {
  id: int('id').primaryKey(),
  body: nvarchar('body', { length: 99 }),
})
const db = drizzle.mock()

/** A unit of work with a COMMIT and a ROLLBACK in between, which are no statements and carry nothing. */
const work = [
  db.select().from(orders).where(eq(orders.id, 1)),
  db.insert(orders).values({ id: 1, body: 'x' }),
  db.update(orders).set({ body: 'y' }).where(eq(orders.id, 1)),
  db.delete(orders),
].map((query) => query.toSQL().sql)

describe('every statement of a tenant of SQL Server', () => {
  const namespaces = { one: `t${'1'.repeat(25)}`, other: `t${'2'.repeat(25)}` } as const
  const ids = { one: '00000000-0000-4000-8000-000000000001', other: '00000000-0000-4000-8000-000000000002' } as const
  type Who = keyof typeof ids

  const named: Record<StrategyName, (namespace: string) => string> = {
    schema: (namespace) => `[${namespace}].[orders]`,
    database: (namespace) => `[${namespace}].[dbo].[orders]`,
    prefix: (namespace) => `[prefixed].[${namespace}__orders]`,
    rls: () => '[rls].[orders]',
  }
  const strategies = Object.keys(named) as StrategyName[]

  // One for all tenants, as a server has it: it remembers texts.
  const scopeText = createTextScoper(mssqlProfile)
  const sessionOf = (who: Who, strategy: StrategyName): TenantSession => {
    const settings = strategy === 'rls' ? { [TENANT_SETTING]: ids[who] } : {}
    const scope: Scope = { tenantId: ids[who], server: 'main', namespace: namespaces[who], strategy, settings }
    const { naming } = layoutOf(scope, shared)
    const tenant: SessionTenant | undefined = strategy === 'rls' ? { value: ids[who], type: 'nvarchar' } : undefined
    return { guard: open, scopeText: scopeText(naming), tenant, onStatement: undefined }
  }
  const written = (session: TenantSession, text: string): MssqlStatement =>
    admit(session, { text, parameters: [] }).statement

  it.each(strategies)('[W26] names the tenant’s tables in itself, the first one and all after it: %s', (strategy) => {
    const sessions = { one: sessionOf('one', strategy), other: sessionOf('other', strategy) }
    for (const who of ['one', 'one', 'other', 'one', 'other', 'other'] as const) {
      for (const text of work) {
        expect(text).toContain(`[${TENANT_TOKEN}].[orders]`)
        const own = text.replaceAll(`[${TENANT_TOKEN}].[orders]`, named[strategy](namespaces[who]))
        const made = written(sessions[who], text)
        expect(made.text).toBe(strategy === 'rls' ? scopedBatch(own) : own)
        expect(made.parameters).toEqual(
          strategy === 'rls' ? [{ name: 'tenancy_tenant', value: ids[who], type: 'nvarchar' }] : [],
        )
      }
    }
  })
})
