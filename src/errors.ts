import createError, { type FastifyError } from '@fastify/error'

/**
 * The one table of errors: code → HTTP status, sentence. A `%s` is filled with what was received or what failed; never
 * with a secret, an SQL parameter or another tenant's name. Codes are never renamed and never used again.
 * docs/errors.md explains each; a test compares both directions.
 */
const table = {
  TENANCY_ERR_CONFIG_INVALID: [500, 'The tenancy configuration is invalid:\n%s'],
  TENANCY_ERR_ALREADY_REGISTERED: [
    500,
    'fastify-tenancy is already registered in this scope. Register it once per Fastify scope.',
  ],
  TENANCY_ERR_ROUTE_CONFIG_INVALID: [500, 'Route %s has an invalid `config.tenancy`: %s'],
  TENANCY_ERR_PEER_MISSING: [500, 'Cannot load `%s`. Install it beside fastify-tenancy: npm install %s'],
  TENANCY_ERR_PEER_UNSAFE: [
    500,
    'The `%s` that is installed would mix tenants: %s. Use another version: npm install %s',
  ],
  TENANCY_ERR_NOT_STARTED: [500, 'No tenancy instance is running%s'],
  TENANCY_ERR_START_TIMEOUT: [
    503,
    'Starting did not end within the %s ms that Fastify gives a plugin. Give it more, as in `Fastify({ pluginTimeout: 120_000 })`, when the database takes long to start or shared migrations are many.',
  ],
  TENANCY_ERR_CLOSED: [503, 'This tenancy instance is closed.'],
  TENANCY_ERR_AMBIGUOUS_INSTANCE: [
    500,
    'There are %s tenancy instances in this process and no tenant context. Use `app.tenancy.run()`.',
  ],

  TENANCY_ERR_TENANT_UNKNOWN: [400, 'The tenant%s could not be determined, or is not served.'],
  TENANCY_ERR_TENANT_SUSPENDED: [403, 'This tenant is suspended.'],
  TENANCY_ERR_NO_TENANT: [
    500,
    'No tenant in the current context. Call this inside a tenant request or `runWithTenant()`.',
  ],
  TENANCY_ERR_TENANT_REVOKED: [
    403,
    'The tenant of this database handle is no longer served. It works again when the tenant is active again.',
  ],

  TENANCY_ERR_TENANT_MISMATCH: [
    500,
    'This database handle or query belongs to another tenant than the current context. Ask for `getTenantDb()` in each request, or use `runWithoutTenant()` to work with several tenants at once.',
  ],
  TENANCY_ERR_IDENTIFIER_INVALID: [400, 'Invalid tenant identifier: %s'],
  TENANCY_ERR_TENANT_EXISTS: [
    409,
    'This identifier or row key is taken, or another tenant had it before: neither is ever given out twice, and a row key is never changed.',
  ],
  TENANCY_ERR_TENANT_LIMIT: [
    409,
    '`maxTenants` is %s, and there are as many tenants, or more. Purge one that is deleted, or raise it.',
  ],
  TENANCY_ERR_TENANT_NOT_FOUND: [404, 'There is no such tenant.'],
  TENANCY_ERR_TENANT_CONFLICT: [
    409,
    'The tenant was changed by someone else (expected version %s). Read it again and retry.',
  ],
  TENANCY_ERR_STATUS_TRANSITION: [
    409,
    'A tenant cannot go from %s to %s. Its way is provisioning, active or suspended, deleted, purging, purged: what is deleted stays so. One that is provisioning goes on by `ensure()`, called as it was registered.',
  ],
  TENANCY_ERR_TENANT_INVALID: [400, 'Invalid tenant: %s'],

  TENANCY_ERR_ENCRYPTION_OFF: [
    500,
    'Metadata is marked as secret and can be neither sealed nor opened, because encryption is off. Set `enableEncryption` and a key.',
  ],
  TENANCY_ERR_SECRET_UNREADABLE: [500, 'A secret of this tenant cannot be read: %s.'],
  TENANCY_ERR_SECRET_IN_CLEAR: [
    500,
    'A secret of this tenant is stored in clear. Set `allowPlaintext` until `app.tenancy.reencrypt()` has sealed what is there.',
  ],
  TENANCY_ERR_KMS_UNAVAILABLE: [503, 'The key management service did not give a key.'],

  TENANCY_ERR_METADATA_INVALID: [400, 'The metadata of a tenant would not fit `metadataSchema`, at %s.'],
  TENANCY_ERR_METADATA_STORED: [
    500,
    'The stored metadata of this tenant does not fit `metadataSchema`, at %s. Let the schema take it, or correct it with `app.tenancy.update()`.',
  ],

  TENANCY_ERR_STORE_UNAVAILABLE: [503, 'The tenant store cannot be reached.'],
  TENANCY_ERR_STORE_FORBIDDEN: [503, 'A right is missing in the tenant store%s.'],
  TENANCY_ERR_DATABASE_UNAVAILABLE: [503, 'The database%s'],
  TENANCY_ERR_POOL_TIMEOUT: [503, 'No database connection became free within %s ms.'],

  TENANCY_ERR_STRATEGY_UNSUPPORTED: [
    400,
    'The isolation strategy %s is not available here. Use one that the configuration names and the database carries.',
  ],
  TENANCY_ERR_STRATEGY_NOT_CONFIGURED: [
    503,
    'This tenant is stored with the isolation strategy %s, which is not configured here. A changed `isolationStrategy` moves nobody: configure `hybrid` with both, or move the tenant (docs/isolation.md).',
  ],
  TENANCY_ERR_SERVER_UNKNOWN: [400, 'There is no server %s. Use `main` or a name in the option `servers`.'],
  TENANCY_ERR_SERVER_NOT_CONFIGURED: [503, 'The server of this tenant is not configured here.'],
  TENANCY_ERR_NAMESPACE_EXISTS: [
    500,
    'The namespace %s exists already and was not created for this tenant. It is never adopted silently.',
  ],
  TENANCY_ERR_ADOPTION_REFUSED: [409, 'The namespace %s cannot become that of a tenant: %s.'],
  TENANCY_ERR_PROVISION_FAILED: [500, 'The tenant could not be provisioned. Nothing was left behind.'],
  TENANCY_ERR_DESTROY_INCOMPLETE: [500, 'The tenant could not be destroyed completely: %s'],
  TENANCY_ERR_VERIFY_FAILED: [500, 'Whether tenants are kept apart could not be found out: %s'],
  TENANCY_ERR_RLS_UNPROTECTABLE: [500, 'Row-level security cannot keep tenants apart here: %s'],
  TENANCY_ERR_RLS_BYPASSED: [
    500,
    'Row-level security does not bind the serving role %s: %s. Serve with a role made by `fastify-tenancy roles`.',
  ],
  TENANCY_ERR_SHARED_TABLES: [500, 'Tables cannot be shared by all tenants like this: %s'],
  TENANCY_ERR_RIGHTS_UNMET: [
    500,
    'The option %s cannot keep what it promises here: %s. `fastify-tenancy roles … %s` prints the SQL that sets it up.',
  ],
  TENANCY_ERR_MIGRATIONS_FOLDER: [500, 'Cannot read the migrations folder %s: %s'],
  TENANCY_ERR_MIGRATION_FAILED: [500, 'Migration %s failed at statement %s: %s'],
  TENANCY_ERR_MIGRATION_CHANGED: [500, 'Migration %s was changed after %s. Nothing ran. Put %s.'],
  TENANCY_ERR_MIGRATION_REFUSED: [500, 'Migration %s was refused at statement %s: %s'],

  TENANCY_ERR_DRIZZLE_FACTORY: [500, 'The `drizzle` function cannot be used: %s'],
  TENANCY_ERR_STATEMENT_REFUSED: [500, 'This statement is not allowed on a tenant database: %s'],
  TENANCY_ERR_TRANSACTION_FINISHED: [500, 'This transaction is finished; statements on it are refused.'],
  TENANCY_ERR_TRANSACTION_ROLLED_BACK: [
    500,
    'The transaction was rolled back instead of committed: a statement in it had failed and its error was caught, or a nested transaction was still under way. Nest `transaction()` around what may fail, and await it.',
  ],
  TENANCY_ERR_TRANSACTION_BUSY: [
    500,
    'This embedded database has one connection and an open transaction of another tenant holds it: %s',
  ],
} as const satisfies Record<`TENANCY_ERR_${string}`, readonly [status: number, message: string]>

/** Every code this library can throw or answer with. */
export type TenancyErrorCode = keyof typeof table

/** An error of this library: a stable `code`, an HTTP `statusCode`, and a message that says what to do. */
export interface TenancyError extends FastifyError {
  readonly code: TenancyErrorCode
  readonly statusCode: number
  /** Reply headers, such as `Retry-After` in seconds for a dependency that is down. */
  readonly headers?: Readonly<Record<string, string>>
}

/** All codes with their HTTP status, for docs and tests. */
export const errorTable: Readonly<Record<TenancyErrorCode, readonly [status: number, message: string]>> = table

type Constructor = new (...parameters: unknown[]) => FastifyError

const constructors = new Map<TenancyErrorCode, Constructor>(
  Object.entries(table).map(([code, [status, message]]) => [
    code as TenancyErrorCode,
    createError(code, message, status) as unknown as Constructor,
  ]),
)

/** Marks errors of every copy of this package in the process. */
const brand = Symbol.for('fastify-tenancy.error')

/** Seconds a client should wait before it tries again when a dependency is down. */
const RETRY_AFTER_SECONDS = '5'

/** What fills a sentence where there is nothing to say more exactly, or nobody who may know. */
const unsaid: Partial<Record<TenancyErrorCode, readonly string[]>> = {
  TENANCY_ERR_NOT_STARTED: ['. Register the plugin and await `app.ready()` first.'],
  TENANCY_ERR_TENANT_UNKNOWN: [''],
  TENANCY_ERR_STORE_FORBIDDEN: [''],
  TENANCY_ERR_DATABASE_UNAVAILABLE: [' cannot be reached.'],
}

/** The message without what is only for those who run the app: names of options, accounts and tenants. */
export function neutralMessage({ code, message }: TenancyError): string {
  return Object.hasOwn(unsaid, code) ? tenancyError(code).message : message
}

/** Makes the error of `code`; `parameters` fill the `%s` of its sentence. */
export function tenancyError(
  code: TenancyErrorCode,
  parameters: readonly unknown[] = [],
  cause?: unknown,
): TenancyError {
  const ErrorClass = constructors.get(code) as Constructor
  const filled = parameters.length === 0 ? (unsaid[code] ?? []) : parameters
  const error = new ErrorClass(...filled, ...(cause === undefined ? [] : [{ cause }]))
  Error.captureStackTrace(error, tenancyError)
  Object.defineProperty(error, brand, { value: true })
  if (error.statusCode === 503) Object.assign(error, { headers: { 'retry-after': RETRY_AFTER_SECONDS } })
  return error as TenancyError
}

/** True for an error of this library, also when another copy of the package threw it. */
export function isTenancyError(error: unknown, code?: TenancyErrorCode): error is TenancyError {
  if (typeof error !== 'object' || error === null || !(brand in error)) return false
  return code === undefined || ('code' in error && error.code === code)
}

/** The error of this library that `error` is or was caused by (Drizzle wraps driver errors), at most five levels deep. */
export function findTenancyError(error: unknown): TenancyError | undefined {
  let current = error
  for (let depth = 0; depth < 5 && typeof current === 'object' && current !== null; depth++) {
    if (isTenancyError(current)) return current
    current = (current as { cause?: unknown }).cause
  }
  return undefined
}
