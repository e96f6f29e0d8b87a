import { isTenancyError, tenancyError } from '../errors.ts'

/** What `work` gives; where it cannot reach a database, the error names the option that leads there, and never what the option says. */
export async function reach<T>(option: 'databaseUrl' | 'adminDatabaseUrl', work: Promise<T>): Promise<T> {
  try {
    return await work
  } catch (error) {
    if (!isTenancyError(error, 'TENANCY_ERR_DATABASE_UNAVAILABLE')) throw error
    throw tenancyError('TENANCY_ERR_DATABASE_UNAVAILABLE', [` of \`${option}\``], error.cause)
  }
}

/** The option that leads to the admin's connections: where there is none, the other one does. */
export function adminOption({ url, adminUrl }: { readonly url: string; readonly adminUrl: string }) {
  return url === adminUrl ? 'databaseUrl' : 'adminDatabaseUrl'
}
