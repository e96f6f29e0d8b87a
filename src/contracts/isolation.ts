import type { Placement, StrategyName, Tenant } from './tenant.ts'

/**
 * Everything a dialect must know to keep a statement inside one tenant: plain data, made by a strategy, carried out by a
 * dialect. Which schema, database or prefix comes of it is the dialect's own matter.
 */
export interface Scope {
  readonly tenantId: string
  /** Where it is: {@link MAIN_SERVER} or an entry of the configured servers. */
  readonly server: string
  /** What the tenant's own schema or database is called, or its names begin with. */
  readonly namespace: string
  /** What separates this tenant's rows from others', and so what may be destroyed with it. */
  readonly strategy: StrategyName
  /** Transaction-local settings, such as `app.current_tenant`; they travel with every statement. */
  readonly settings: Readonly<Record<string, string>>
  /** What a tenant column holds in the tenant's rows; absent where the scope is no tenant's. */
  readonly rowKey?: string
}

/** The setting that row policies compare with the tenant column. */
export const TENANT_SETTING = 'app.current_tenant'

/** What a strategy may look at to place a new tenant. */
export interface TenantToPlace extends Pick<Tenant, 'id' | 'identifier' | 'metadata'> {
  /** The strategy asked for at registration, if any. */
  readonly strategy?: StrategyName | undefined
  /** The server it goes to. Default: {@link MAIN_SERVER}. */
  readonly server?: string | undefined
  /** The row key asked for at registration, if any. */
  readonly rowKey?: string | undefined
}

/** Policy: turns a tenant into a {@link Scope}. Knows no database. */
export interface IsolationStrategy {
  readonly name: StrategyName | 'hybrid'
  /** What the database must carry; compared at boot. */
  readonly needs: readonly StrategyName[]
  /**
   * The placement of a new tenant. Asked once; the answer is stored.
   * @throws TENANCY_ERR_STRATEGY_UNSUPPORTED when it asks for a strategy that is not configured,
   * TENANCY_ERR_TENANT_INVALID for a row key that none can have
   */
  place(tenant: TenantToPlace): Placement
  /** @throws TENANCY_ERR_STRATEGY_NOT_CONFIGURED when the tenant was placed by a strategy that is not configured */
  scope(tenant: Pick<Tenant, 'id' | 'placement'>): Scope
}

/**
 * What a server makes of each strategy. Mostly the same; another where it stands in (a database without schemas prefixes
 * names); an absent one is a coded error at boot, never an `if` on a database's name.
 */
export type Capabilities = Readonly<Partial<Record<StrategyName, StrategyName>>>
