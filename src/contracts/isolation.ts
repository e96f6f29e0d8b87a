import type { Placement, Tenant } from './tenant.ts'

/**
 * Everything a dialect must know to keep a statement inside one tenant: plain data, made by a strategy, carried out by a
 * dialect. All of it travels with every statement.
 */
export interface Scope {
  readonly tenantId: string
  readonly server: string
  readonly namespace: string
  /** Schemas in which unqualified names are looked up, in this order; the dialect quotes them. Never `public`. */
  readonly searchPath: readonly string[]
  /** Transaction-local settings, such as `app.current_tenant`. */
  readonly settings: Readonly<Record<string, string>>
}

/** Policy: turns a tenant into a {@link Scope}. Knows no database. */
export interface IsolationStrategy {
  readonly name: Placement['strategy']
  /** What a dialect must be capable of; checked at boot. */
  readonly needs: readonly Capability[]
  /** The placement of a new tenant. */
  place(tenantId: string): Placement
  scope(tenant: Pick<Tenant, 'id' | 'placement'>): Scope
}

/** What a dialect can do. A missing one is a coded error at boot, never an `if` on a database's name. */
export type Capability = 'schemas' | 'searchPath' | 'transactionalDdl'
