import { TENANT_SETTING } from '../../../contracts/isolation.ts'
import { quoteLiteral } from '../quote.ts'

/** After a transaction-local setting has ended its value is empty and not null, hence `nullif`. */
const VALUE = `nullif(current_setting(${quoteLiteral(TENANT_SETTING)}, true), '')`

/** The current tenant in the type of the column; null without one. */
export function currentTenant(type: string): string {
  return `(${VALUE})::${type}`
}

/** The same for the default in a schema file: drizzle-kit 1.0 drops a `::type` at the end of one. */
export function currentTenantDefault(type: string): string {
  return `cast(${VALUE} as ${type})`
}
