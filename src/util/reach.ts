import { isTenancyError, tenancyError } from '../errors.ts'

/** An account or database that is not there, or a wrong password: PostgreSQL, MySQL and MariaDB, SQL Server. */
const REFUSED_LOGIN = new Set<unknown>(['28000', '28P01', '3D000', 'ELOGIN', 1044, 1045, 1049, 18_456])
const ADVICE =
  'is the password right, is the database there, were the accounts made (on PostgreSQL by the SQL of `fastify-tenancy roles`)?'

/** What `work` gives; where it cannot reach a database, the error names the option that leads there, and never what the option says. */
export async function reach<T>(option: 'databaseUrl' | 'adminDatabaseUrl', work: Promise<T>): Promise<T> {
  try {
    return await work
  } catch (error) {
    if (!isTenancyError(error, 'TENANCY_ERR_DATABASE_UNAVAILABLE')) throw error
    const outcome = refusedLogin(error.cause) ? `refused the login: ${ADVICE}` : 'cannot be reached.'
    throw tenancyError('TENANCY_ERR_DATABASE_UNAVAILABLE', [` of \`${option}\` ${outcome}`], error.cause)
  }
}

function refusedLogin(cause: unknown): boolean {
  let link = cause
  for (let depth = 0; depth < 3 && typeof link === 'object' && link !== null; depth++) {
    const { code, errno, number, originalError } = link as Record<string, unknown>
    if ([code, errno, number].some((known) => REFUSED_LOGIN.has(known))) return true
    link = originalError
  }
  return false
}

/** The option that leads to the admin's connections: where there is none, the other one does. */
export function adminOption({ url, adminUrl }: { readonly url: string; readonly adminUrl: string }) {
  return url === adminUrl ? 'databaseUrl' : 'adminDatabaseUrl'
}
