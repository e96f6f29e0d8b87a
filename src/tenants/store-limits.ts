/** What a registry holds at most, and by which account. */
export interface StoreLimits {
  /** Tenants, whatever their status but `purged`: what has data, or may get some. At least 1. Default: no limit. */
  readonly maxTenants?: number | undefined
  /** The serving account keeps the registry too, because `adminDatabaseUrl` names no other. Default: false. */
  readonly servingAccount?: boolean | undefined
}
