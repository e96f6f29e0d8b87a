import type { FastifyRequest } from 'fastify'
import { z } from 'zod'
import type { KeyManagement } from './contracts/cipher.ts'
import type { MetadataSchema } from './contracts/metadata-schema.ts'
import type { TenantStore } from './contracts/store.ts'
import { type StrategyName, strategyNames, type Tenant } from './contracts/tenant.ts'
import { adminUrlForms, isAnyUrl, urlForms, withoutTrailingSlashes } from './database-url.ts'
import { isKeyId, parseEncryptionKey } from './encryption/keys.ts'
import { isServerUrl } from './server-url.ts'
import type { TextKind } from './util/env.ts'
import { defaultReservedIdentifiers, parseIdentifier } from './util/identifier.ts'
import { parseRedisUrl, redisUrlForms } from './util/redis-url.ts'
import { secret } from './util/secret.ts'

/** Finds the tenant's identifier in a request, for `resolutionStrategy: 'custom'`; nothing or null when it names none. */
export type ResolverFunction = (
  request: FastifyRequest,
) => string | undefined | null | Promise<string | undefined | null>

/** Says whether the caller of `request` may act for `tenant`. */
export type AuthorizeFunction = (tenant: Tenant, request: FastifyRequest) => boolean | Promise<boolean>

/**
 * Makes the Drizzle database of one tenant: `(client) => drizzle({ client, schema })`. The type of `client` is `never`
 * because that fits every Drizzle driver in every version.
 */
export type DrizzleFactory = (client: never, context: DrizzleContext) => object

/** What a {@link DrizzleFactory} is told. */
export interface DrizzleContext {
  /** Null for the database of the admin connection. */
  readonly tenant: Tenant | null
  /** This tenant's view of a query cache: `drizzle({ client, cache: cache(yours) })`. One without it is refused. */
  readonly cache: <T extends object>(yours: T) => T
}

/** Chooses the isolation strategy of a new tenant in a hybrid. Asked once, at registration; the answer is stored. */
export type StrategyFunction = (tenant: Pick<Tenant, 'id' | 'identifier' | 'metadata'>) => StrategyName

/** Chooses the server of a new tenant: `main` or an entry of `servers`. Asked once, at registration; the answer is stored. */
export type ServerFunction = (tenant: Pick<Tenant, 'id' | 'identifier' | 'metadata'>) => string

/** What the table in docs/configuration.md and the messages tell of an option. */
export interface Note {
  /** How the variable's text is read; `code` options have no variable. */
  readonly kind: TextKind | 'code'
  readonly type: string
  /** Completes the sentence "Use …". */
  readonly range: string
  readonly meaning: string
  /** Only where the schema itself cannot tell the default. */
  readonly default?: string
  /** What was received is never shown. */
  readonly secret?: true
}

/** The note of every option of {@link configSchema}. */
export const notes = z.registry<Note>()

/** Longest wait of a Node.js timer; a longer one would fire at once. */
const LONGEST_SECONDS = 2_147_483

const MOST_TENANTS = 100_000_000

const strategies = ['header', 'subdomain', 'path', 'custom'] as const
const headerToken = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/
const dnsSuffix = /^(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*(?!\d+$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/i
const prefixPath = /^(\/(?!\.{1,2}(\/|$))[A-Za-z0-9._~-]+)+\/?$/
const schemaName = /^(?!pg_|public$|information_schema$|t[0-9a-z]{25}$)[a-z_][a-z0-9_]{0,62}$/
const inPassword = 'in the password, write @ : / ? # % as %40 %3A %2F %3F %23 %25'
const serverName = /^(?!main$)[a-z][a-z0-9_-]{0,62}$/
const schemaRange =
  'a-z, 0-9 and _, at most 63; not `public`, `information_schema`, `pg_…`, nor t and 25 characters, as tenants have it'

const keyForm = '`<id>:<32 random bytes in base64>`, the id of letters, digits, - and _, at most 32'

const poolers = ['none', 'transaction'] as const

/** One entry of `servers`. */
export const serverSchema = z.strictObject({
  databaseUrl: url(isAnyUrl),
  adminDatabaseUrl: url(isServerUrl).optional(),
  pooler: z.enum(poolers).optional(),
})

/** A key of the ring, as text. */
const encryptionKey = z
  .string()
  .refine((given) => parseEncryptionKey(given) !== undefined)
  .transform((given) => secret(given))

/** What each key of an entry may be: completes the sentence "Use …". */
export const serverRanges: Readonly<Record<keyof z.input<typeof serverSchema>, string>> = {
  databaseUrl: urlRange(urlForms),
  adminDatabaseUrl: urlRange(adminUrlForms),
  pooler: rangeOf(poolers),
}

/** Every option once: type, rule, default, variable and documentation. */
export const configSchema = z.object({
  resolutionStrategy: z
    .union([
      z.enum(strategies).transform((one): (typeof strategies)[number][] => [one]),
      z
        .array(z.enum(strategies))
        .min(1)
        .refine((list) => new Set(list).size === list.length),
    ])
    .readonly()
    .prefault('header')
    .register(notes, {
      kind: 'list',
      type: 'choice or list',
      range: '`header`, `subdomain`, `path`, `custom`, or a list of different ones',
      meaning: 'How a request names its tenant. A list is tried in order until one resolver finds a name.',
    }),
  resolutionMustAgree: flag(
    false,
    'Every resolver of the list must name the same tenant. Needs a list of two or more.',
  ),
  resolver: code<ResolverFunction>(
    '(request) => identifier',
    'Your resolver. Required by `custom`, refused without it.',
  ),
  isolationStrategy: choice(
    [...strategyNames, 'hybrid'],
    'schema',
    'What keeps the rows of tenants apart. `hybrid`: one strategy for premium tenants, another for the rest.',
  ),
  tenantRoles: flag(
    false,
    'Under `schema` on PostgreSQL, a role for each tenant: the server refuses SQL that names another tenant. Needs `fastify-tenancy roles --tenant-roles`.',
  ),
  schemaScoping: choice(
    ['search_path', 'qualified'],
    'search_path',
    'Under `schema` on PostgreSQL, how names find the tenant. `qualified`: written into the SQL of `schema`, nothing is sent with a statement. Needs `fastify-tenancy roles --qualified` and no pooler.',
  ),
  premiumIsolationStrategy: choice(strategyNames, 'schema', 'In a hybrid, the strategy of premium tenants.'),
  standardIsolationStrategy: choice(strategyNames, 'rls', 'In a hybrid, the strategy of all other tenants.'),
  premiumTenants: list(
    [],
    (identifier) => parseIdentifier(identifier) !== undefined,
    'tenant identifiers, which have 3 to 63 characters a-z, 0-9 and "-"',
    'In a hybrid, the identifiers of premium tenants. Looked at when a tenant is registered.',
  ),
  premiumTiers: list(
    ['premium'],
    (tier) => tier.trim() !== '',
    'names of tiers',
    'In a hybrid, tenants registered with one of these as `metadata.tier` are premium.',
  ),
  chooseStrategy: code<StrategyFunction>(
    '(tenant) => strategy',
    'In a hybrid, chooses the strategy of a new tenant, in place of `premiumTenants` and `premiumTiers`.',
  ),
  schema: record<Readonly<Record<string, unknown>>>(
    'object',
    "Your tables: `import * as schema`. Required for `sharedTables` and where names are written into the SQL: `prefix` everywhere, `schemaScoping: 'qualified'`, all of MySQL and SQL Server.",
  ),
  sharedTables: list(
    [],
    (name) => /^[^\0]+$/.test(name),
    'names of tables that are in `schema`',
    'Tables that all tenants read, such as plans and countries: one for all, in `sharedSchema`.',
  ),
  sharedWritable: list(
    [],
    (name) => /^[^\0]+$/.test(name),
    'names out of `sharedTables`',
    'Shared tables that tenants may write too. What one writes all others read.',
  ),
  sharedMigrations: z
    .string()
    .regex(/^[^\0]+$/)
    .optional()
    .register(notes, {
      kind: 'text',
      type: 'string',
      range: 'the path of a folder',
      meaning: 'Folder of the Drizzle migrations of the shared tables. They run once, at the start.',
    }),
  sharedSchema: text(
    'shared',
    schemaName,
    schemaRange,
    'Where shared tables are: a schema on PostgreSQL and SQL Server, a database on MySQL, the beginning of their names on SQLite.',
  ),
  databaseUrl: databaseUrl(
    isAnyUrl,
    urlForms,
    'required; `pglite:memory` when no URL is set and `NODE_ENV` is `development` or `test`',
    'The database of the tenants, with the serving role. Trailing slashes are dropped.',
  ),
  adminDatabaseUrl: databaseUrl(
    isServerUrl,
    adminUrlForms,
    'the same as `databaseUrl`',
    'The same database with the rights for DDL and the registry, without a pooler. Not for `pglite:` and `file:`.',
  ),
  pooler: choice(
    poolers,
    'none',
    'What is between the app and PostgreSQL. `transaction`: PgBouncer or the like in transaction mode; statements that change the session are refused.',
  ),
  servers: z.record(z.string().regex(serverName), serverSchema).prefault({}).register(notes, {
    kind: 'json',
    type: 'object or JSON',
    range:
      '`{ <name>: { databaseUrl, adminDatabaseUrl?, pooler? } }`, the names of a-z, 0-9, - and _, at most 63, not `main`',
    meaning:
      'Further servers that tenants can be placed on, beside `main`, which is `databaseUrl` and holds the registry. All of one kind. The limits of connections are for each of them.',
    secret: true,
  }),
  chooseServer: code<ServerFunction>(
    '(tenant) => server',
    'Chooses the server of a new tenant: `main` or a name in `servers`. Without it, `main`.',
  ),
  databasePoolSize: integer(20, 1, 100, 'Connections that are kept per process and server.'),
  databaseMaxOverflow: integer(
    0,
    0,
    200,
    'Connections above `databasePoolSize` in a rush. None, where fastapi-tenancy has 40: 60 connections per process ' +
      "exhaust PostgreSQL's default of 100 with two processes.",
  ),
  databasePoolTimeout: seconds(30, 1, 'Longest wait for a free connection; then the request is answered 503.'),
  databasePoolRecycle: seconds(3600, 60, 'Age at which a connection is replaced.'),
  databaseMaxTenantConnections: integer(
    20,
    1,
    1000,
    'Under `database`, connections per process to the databases of all tenants together. Who comes after waits. A SQLite file counts as two.',
  ),
  databaseTenantPoolSize: integer(5, 1, 100, 'Under `database`, connections of these for any one tenant.'),
  databaseTemplate: z
    .string()
    .regex(/^[^\0]+$/)
    .refine((name) => Buffer.byteLength(name) <= 63)
    .default('template0')
    .register(notes, {
      kind: 'text',
      type: 'string',
      range: 'the name of a database, at most 63 bytes',
      meaning:
        'Under `database`, what a new one is copied from, with its extensions and rights: run `fastify-tenancy roles` in it.',
    }),
  tenantFolder: z
    .string()
    .regex(/^[^\0]+$/)
    .optional()
    .register(notes, {
      kind: 'text',
      type: 'string',
      range: 'the path of a folder that the main file is not in',
      meaning:
        'Under `database` on SQLite, folder of the files of the tenants. Default: the path of `databaseUrl` and `.tenants`.',
    }),
  sqliteDriver: choice(
    ['libsql', 'better-sqlite3'],
    'libsql',
    'On SQLite, the package that opens the files, and whose Drizzle database `getTenantDb()` is: `@libsql/client`, or `better-sqlite3`, where statements and transactions are synchronous.',
  ),
  databaseEcho: flag(false, 'Log statements, without their parameters, at debug level.'),
  cacheEnabled: flag(
    false,
    'Share tenants between processes in Redis (`redisUrl`), so that each is read from the registry about once. See docs/cache.md.',
  ),
  cacheTtl: seconds(3600, 1, 'How long a tenant in Redis is believed after it was read from the registry.'),
  l1CacheMaxSize: integer(1000, 10, 100_000, 'Tenants remembered per process.'),
  l1CacheTtlSeconds: seconds(60, 1, 'How long a tenant is remembered.'),
  l1CachePreload: integer(
    0,
    0,
    100_000,
    'Active tenants that a process reads at its start, so that their first requests wait for no store: those that were used last, then the newest. Who was used is noted in the registry every 5 minutes and at the end. At most `l1CacheMaxSize`.',
  ),
  changeChannel: choice(
    ['auto', 'listen', 'redis', 'poll'],
    'auto',
    'How processes learn at once of changed tenants. `listen`: LISTEN of PostgreSQL, on one more connection with `adminDatabaseUrl`. `redis`: through `redisUrl`. `poll`: the registry is asked 2.5 times a second. `auto`: the first of them that there is.',
  ),
  redisUrl: z
    .string()
    .refine((given) => parseRedisUrl(given) !== undefined)
    .transform((given) => secret(given))
    .optional()
    .register(notes, {
      kind: 'text',
      type: 'URL',
      range: urlRange(redisUrlForms),
      meaning:
        'A Redis that the processes of the app share. It needs the package `ioredis`, and may go away at any time.',
      secret: true,
    }),
  redisKeyPrefix: text(
    'tenancy',
    /^[A-Za-z0-9._-]{1,64}$/,
    'letters, digits and . _ -, at most 64',
    'What the keys and channels in Redis begin with. Apps that share a Redis must not share it.',
  ),
  tenantHeaderName: text(
    'X-Tenant-ID',
    headerToken,
    'the name of a header, such as `X-Tenant-ID`',
    'Header of the `header` resolver.',
  ),
  domainSuffix: z.string().regex(dnsSuffix).toLowerCase().optional().register(notes, {
    kind: 'text',
    type: 'string',
    range: 'a domain without a leading dot or a port, such as `example.com`',
    meaning: 'What follows the tenant in the host name. Required by `subdomain`.',
  }),
  pathPrefix: z.string().regex(prefixPath).transform(withoutTrailingSlashes).default('/tenants').register(notes, {
    kind: 'text',
    type: 'string',
    range: '`/` and at least one segment of letters, digits and . _ ~ -',
    meaning: 'Path of the `path` resolver, before the tenant. A trailing slash is dropped.',
  }),
  excludedPaths: list(
    [],
    (path) => /^\/[^?#\s]*$/.test(path),
    'paths that start with `/`, without ? # or spaces',
    'Paths that need no tenant, with everything below them.',
  ),
  hook: choice(
    ['onRequest', 'preValidation', 'preHandler'],
    'onRequest',
    'Fastify hook that finds the tenant. A later one lets authentication run first.',
  ),
  authorize: code<AuthorizeFunction>('(tenant, request) => boolean', 'May the caller act for this tenant?'),
  drizzle: code<DrizzleFactory>(
    '(client, { tenant }) => database',
    'Makes the Drizzle database: `(client) => drizzle({ client, schema })`, with `relations` instead in Drizzle 1.0. ' +
      'Without it, one without tables.',
  ),
  migrations: z
    .string()
    .regex(/^[^\0]+$/)
    .optional()
    .register(notes, {
      kind: 'text',
      type: 'string',
      range: 'the path of a folder',
      meaning: 'Folder of your Drizzle migrations.',
    }),
  extensionsSchema: text(
    'extensions',
    schemaName,
    schemaRange,
    'PostgreSQL schema of the extensions that tenants may use. The serving role cannot create there.',
  ),
  registrySchema: text(
    'tenancy',
    schemaName,
    schemaRange,
    'Schema of the registry of tenants; on MySQL and MariaDB a database. On SQLite it is a file.',
  ),
  rlsSchema: text('rls', schemaName, schemaRange, 'Schema of the tables that tenants share under `rls`.'),
  prefixSchema: text(
    'prefixed',
    schemaName,
    schemaRange,
    'Schema of the tables of tenants under `prefix`, on PostgreSQL and SQL Server.',
  ),
  tenantColumn: text(
    'tenant_id',
    /^[a-z_][a-z0-9_]{0,62}$/,
    'a-z, 0-9 and _, at most 63',
    'Column that says whose a row is, under `rls`. Of type uuid, text, varchar, integer or bigint (SQL Server: uniqueidentifier, nvarchar or varchar); its values are row keys, by default tenant ids.',
  ),
  tenantStore: record<TenantStore>('TenantStore', 'Your own registry of tenants. Default: tables in `registrySchema`.'),
  enableEncryption: flag(false, 'Seal the values of metadata whose key begins with `encryptedPrefix`.'),
  encryptionKey: encryptionKey.optional().register(notes, {
    kind: 'text',
    type: 'key',
    range: `${keyForm}; the passphrase of fastapi-tenancy belongs in \`encryptionPassphrase\``,
    meaning: 'What new values are sealed with. Required by `enableEncryption`, unless there is an `encryptionKms`.',
    secret: true,
  }),
  encryptionOldKeys: z
    .array(encryptionKey)
    .readonly()
    .prefault([])
    .register(notes, {
      kind: 'list',
      type: 'list',
      range: `a list of ${keyForm}`,
      meaning: 'Keys of before, for reading. Remove one when `reencrypt()` finds nothing of it.',
      secret: true,
    }),
  encryptionPassphrase: z
    .string()
    .regex(/^.{32,}$/su)
    .transform((given) => secret(given))
    .optional()
    .register(notes, {
      kind: 'text',
      type: 'string',
      range: 'at least 32 characters',
      meaning: 'The `encryption_key` of fastapi-tenancy, for reading what it wrote (`enc::…`).',
      secret: true,
    }),
  encryptionKms: z.custom<KeyManagement>(isKeyManagement).optional().register(notes, {
    kind: 'code',
    type: 'KeyManagement',
    range: '`{ id, unwrap, wrap? }`, the id of letters, digits, - and _, at most 32',
    meaning:
      'A key management service that wraps the keys that new values are sealed with, in place of `encryptionKey`. Without `wrap` it is read with only.',
    secret: true,
  }),
  encryptedPrefix: text(
    '_enc_',
    /^[A-Za-z_][A-Za-z0-9_.-]{0,31}$/,
    'a letter or _, then letters, digits and _ . -, at most 32',
    'What a key of metadata begins with, at any depth, when its value is secret.',
  ),
  allowPlaintext: flag(
    false,
    'Give out secrets that are stored in clear, from before encryption. `reencrypt()` seals them; then set it to false.',
  ),
  metadataSchema: z.custom<MetadataSchema>(isStandardSchema).optional().register(notes, {
    kind: 'code',
    type: 'Standard Schema',
    range: 'a schema of zod, valibot, ArkType or another that has `~standard`',
    meaning: "What tenants' metadata must be. Checked by every write of it, and read by `getTenantMetadata()`.",
  }),
  reservedIdentifiers: list(
    [...defaultReservedIdentifiers],
    (identifier) => parseIdentifier(identifier) !== undefined,
    'tenant identifiers, which have 3 to 63 characters a-z, 0-9 and "-"',
    'Identifiers no tenant can have. A list of yours takes the place of the default.',
  ),
  maxTenants: z
    .int()
    .min(1)
    .max(MOST_TENANTS)
    .optional()
    .register(notes, {
      kind: 'integer',
      type: 'integer',
      range: `a whole number from 1 to ${MOST_TENANTS}`,
      meaning: 'Most tenants of the registry, those that are purged not counted. Holds between processes too.',
    }),
  defaultTenantStatus: choice(['active', 'suspended'], 'active', 'Status of a new tenant.'),
  closeTimeoutSeconds: seconds(10, 1, 'Longest wait for running work when the app closes.'),
})

function isStandardSchema(value: unknown): boolean {
  if ((typeof value !== 'object' && typeof value !== 'function') || value === null) return false
  const standard: unknown = '~standard' in value ? value['~standard'] : undefined
  return (
    typeof standard === 'object' &&
    standard !== null &&
    'validate' in standard &&
    typeof standard.validate === 'function'
  )
}

function choice<const T extends readonly [string, ...string[]]>(values: T, fallback: T[number], meaning: string) {
  return z
    .enum(values)
    .default(fallback as never)
    .register(notes, { kind: 'text', type: 'choice', range: rangeOf(values), meaning })
}

function rangeOf(values: readonly string[]): string {
  return values.map((value) => `\`${value}\``).join(', ')
}

function flag(fallback: boolean, meaning: string) {
  return z
    .boolean()
    .default(fallback)
    .register(notes, { kind: 'boolean', type: 'boolean', range: 'true or false', meaning })
}

function integer(fallback: number, min: number, max: number, meaning: string, type = 'integer') {
  const range = `a whole number from ${min} to ${max}`
  return z.int().min(min).max(max).default(fallback).register(notes, { kind: 'integer', type, range, meaning })
}

function seconds(fallback: number, min: number, meaning: string) {
  return integer(fallback, min, LONGEST_SECONDS, meaning, 'seconds')
}

function text(fallback: string, rule: RegExp, range: string, meaning: string) {
  return z.string().regex(rule).default(fallback).register(notes, { kind: 'text', type: 'string', range, meaning })
}

function list(fallback: readonly string[], rule: (item: string) => boolean, range: string, meaning: string) {
  return z
    .array(z.string().refine(rule))
    .readonly()
    .prefault(fallback)
    .register(notes, { kind: 'list', type: 'list', range, meaning })
}

function code<T extends (...parameters: never[]) => unknown>(type: string, meaning: string) {
  return z
    .custom<T>((value) => typeof value === 'function')
    .optional()
    .register(notes, { kind: 'code', type, range: 'a function', meaning })
}

function isKeyManagement(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false
  const { id, unwrap, wrap = unwrap } = value as Partial<KeyManagement>
  return isKeyId(id) && typeof unwrap === 'function' && typeof wrap === 'function'
}

function record<T extends object>(type: string, meaning: string) {
  return z
    .custom<T>((value) => typeof value === 'object' && value !== null)
    .optional()
    .register(notes, { kind: 'code', type, range: 'an object', meaning })
}

function databaseUrl(rule: (url: string) => boolean, forms: string, fallback: string, meaning: string) {
  return url(rule)
    .optional()
    .register(notes, { kind: 'text', type: 'URL', range: urlRange(forms), meaning, default: fallback, secret: true })
}

function url(rule: (url: string) => boolean) {
  return z
    .string()
    .refine(rule)
    .transform((text) => secret(withoutTrailingSlashes(text)))
}

function urlRange(forms: string): string {
  return `${forms}; ${inPassword}`
}
