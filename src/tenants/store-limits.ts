/** What a registry holds at most. */
export interface StoreLimits {
  /** Tenants, whatever their status but `purged`: what has data, or may get some. At least 1. Default: no limit. */
  readonly maxTenants?: number | undefined
}
