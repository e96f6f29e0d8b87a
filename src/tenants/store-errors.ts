import { findTenancyError, tenancyError } from '../errors.ts'
import type { StoreLimits } from './store-limits.ts'
import { invalid } from './tenant-input.ts'

/** What a value is that somebody else has: PostgreSQL, MySQL and MariaDB, SQL Server, SQLite. */
const TAKEN = /^(23505|ER_DUP_ENTRY|MSSQL_(2601|2627)|SQLITE_CONSTRAINT_(UNIQUE|PRIMARYKEY))$/
/** A value that the database does not take. */
const REFUSED =
  /^(23514|22...|ER_(CHECK_CONSTRAINT_VIOLATED|CONSTRAINT_FAILED|DATA_TOO_LONG|TRUNCATED_WRONG_VALUE_FOR_FIELD)|MSSQL_(515|547|2628|8152)|SQLITE_CONSTRAINT_(CHECK|NOTNULL)|SQLITE_TOOBIG)$/
/** Transactions that got in each other's way. None of them did anything. */
const GIVEN_UP = /^(40001|40P01|ER_LOCK_(DEADLOCK|WAIT_TIMEOUT)|MSSQL_(1205|1222))$/
/** Rights that the account of `adminDatabaseUrl` lacks, and what gives them. */
const FORBIDDEN: readonly (readonly [kind: RegExp, cure: string])[] = [
  [
    /^42501$/,
    'run the SQL of `fastify-tenancy roles` again, of which `grant connect, create, temporary on database …` is for the role of `adminDatabaseUrl`; all in the schema of the registry must be owned by that role (`alter … owner to`)',
  ],
  [
    /^ER_(DBACCESS|TABLEACCESS|COLUMNACCESS|SPECIFIC_ACCESS)_DENIED_ERROR$/,
    'the account of `adminDatabaseUrl` needs `grant all on` the database of the registry, `tenancy` or `registrySchema`, and on those of tenants',
  ],
  [
    /^MSSQL_(229|230|262|297)$/,
    'the login of `adminDatabaseUrl` must own the schema of the registry, or be in `db_owner`',
  ],
]
/** Giving the serving account these rights would be the wrong cure. */
const NO_ADMIN =
  '`adminDatabaseUrl` is not set, or has the account of `databaseUrl`: set it to the account that makes tables and keeps the registry'
const MAX_DEPTH = 5

/**
 * The error of a registry statement in our terms: taken, invalid, forbidden, or else unavailable. The driver's own error is the
 * `cause`; Drizzle's wrapper, whose message is the SQL with its parameters, is dropped.
 */
export function storeError(error: unknown, { servingAccount = false }: StoreLimits = {}): unknown {
  const known = findTenancyError(error)
  if (known !== undefined && !isUnavailable(known.code)) return known
  const chain = causes(error)
  const cause = chain.find((link) => !isDrizzleWrapper(link))
  const is = (kind: RegExp) => chain.some((link) => kind.test(codeOf(link)))
  if (is(TAKEN)) return tenancyError('TENANCY_ERR_TENANT_EXISTS', [], cause)
  if (is(REFUSED)) return invalid('the database refused one of its values.', cause)
  const forbidden = FORBIDDEN.find(([kind]) => is(kind))
  if (forbidden !== undefined) {
    const cure = servingAccount
      ? NO_ADMIN
      : `are \`databaseUrl\` and \`adminDatabaseUrl\` swapped? If not, ${forbidden[1]}`
    return tenancyError('TENANCY_ERR_STORE_FORBIDDEN', [`: ${cure}. \`cause\` says which`], cause)
  }
  // All the rest, from a closed port to a full disk, means that the registry cannot do its work now.
  return tenancyError('TENANCY_ERR_STORE_UNAVAILABLE', [], cause)
}

/** Whether the database gave a transaction up for another one's sake: it may be tried again. */
export function isRetryable(error: unknown): boolean {
  return causes(error).some((link) => GIVEN_UP.test(codeOf(link)))
}

function isUnavailable(code: string): boolean {
  return code === 'TENANCY_ERR_DATABASE_UNAVAILABLE' || code === 'TENANCY_ERR_POOL_TIMEOUT'
}

function causes(error: unknown): object[] {
  const chain: object[] = []
  for (let link = error; typeof link === 'object' && link !== null && chain.length < MAX_DEPTH; ) {
    chain.push(link)
    link = 'cause' in link ? link.cause : undefined
  }
  return chain
}

/** SQLite says in an extended code what kind of constraint it was; SQL Server has numbers, and `code` only says that it was an error. */
function codeOf(link: object): string {
  if ('extendedCode' in link && typeof link.extendedCode === 'string') return link.extendedCode
  if ('number' in link && typeof link.number === 'number') return `MSSQL_${link.number}`
  return 'code' in link && typeof link.code === 'string' ? link.code : ''
}

function isDrizzleWrapper(link: object): boolean {
  return 'query' in link && 'params' in link && 'cause' in link && link.cause !== undefined
}
