import type { z } from 'zod'
import { encryptionProblem } from './config-encryption.ts'
import { configSchema, type Note, notes } from './config-schema.ts'
import { schemaScopingProblem, tenantRolesProblem } from './config-scoping.ts'
import { adminUrlProblem, refusedServers, type ServerEntry, serverProblems } from './config-servers.ts'
import { databaseKind, urlForms } from './database-url.ts'
import { faultBehind } from './server-url.ts'
import { tenancyError } from './errors.ts'
import { closest, fromText, PREFIX, variableName } from './util/env.ts'
import { quoteReceived } from './util/identifier.ts'
import { type Secret, secret } from './util/secret.ts'

export type {
  AuthorizeFunction,
  DrizzleFactory,
  ResolverFunction,
  ServerFunction,
  StrategyFunction,
} from './config-schema.ts'

/** What the plugin takes. Everything may be left out here and set by its environment variable instead. */
export type TenancyOptions = z.input<typeof configSchema>

type Checked = Readonly<z.output<typeof configSchema>>
type OptionName = keyof Checked

/** Every setting, checked and complete. Frozen, and safe to log: URLs are a {@link Secret}. */
export interface TenancyConfig extends Omit<Checked, keyof ServerConfig | 'servers'>, ServerConfig {
  /** The servers beside `main`, by name. */
  readonly servers: Readonly<Record<string, ServerConfig>>
}

/** What is said of each server. */
export interface ServerConfig {
  readonly databaseUrl: Secret
  readonly adminDatabaseUrl: Secret
  readonly pooler: Checked['pooler']
}

/** One row of the table of options. */
export interface ConfigRow extends Pick<Note, 'type' | 'range' | 'meaning'> {
  readonly option: string
  /** The environment variable; absent for options that only code can give. */
  readonly variable?: string
  readonly default: string
}

/** A condition between options, looked at when each of `about` is valid. Problems are reported under the first. */
interface Rule {
  readonly about: readonly [OptionName, ...OptionName[]]
  /** What is wrong and what to do, or undefined. */
  readonly problem: (values: Checked) => string | readonly string[] | undefined
}

const optionNames = Object.keys(configSchema.shape) as OptionName[]

const rules: readonly Rule[] = [
  {
    about: ['resolutionMustAgree', 'resolutionStrategy'],
    problem: ({ resolutionMustAgree, resolutionStrategy }) =>
      resolutionMustAgree && resolutionStrategy.length < 2
        ? `got true with one resolver. List two or more in ${label('resolutionStrategy')}, or set it to false.`
        : undefined,
  },
  {
    about: ['resolver', 'resolutionStrategy'],
    problem: ({ resolver, resolutionStrategy }) => {
      const custom = resolutionStrategy.includes('custom')
      if (custom && resolver === undefined) {
        return `missing. ${label('resolutionStrategy')} names \`custom\`: give the function in code.`
      }
      if (custom || resolver === undefined) return undefined
      return `got a function that nothing would call. Add \`custom\` to ${label('resolutionStrategy')}, or remove it.`
    },
  },
  {
    about: ['domainSuffix', 'resolutionStrategy'],
    problem: ({ domainSuffix, resolutionStrategy }) =>
      resolutionStrategy.includes('subdomain') && domainSuffix === undefined
        ? `missing. ${label('resolutionStrategy')} names \`subdomain\`: set it to your domain, such as example.com.`
        : undefined,
  },
  {
    about: ['databaseUrl'],
    problem: ({ databaseUrl }) => (databaseUrl === undefined ? `missing. Use ${urlForms}.` : undefined),
  },
  {
    about: ['adminDatabaseUrl', 'databaseUrl'],
    problem: ({ adminDatabaseUrl, databaseUrl }) =>
      databaseUrl && adminUrlProblem(adminDatabaseUrl, databaseUrl, label('databaseUrl')),
  },
  {
    about: ['servers', 'databaseUrl'],
    problem: ({ servers, databaseUrl }) => databaseUrl && serverProblems(databaseUrl, servers),
  },
  {
    about: ['cacheEnabled', 'redisUrl', 'databaseUrl'],
    problem: ({ cacheEnabled, redisUrl, databaseUrl }) => {
      if (!cacheEnabled) return undefined
      if (redisUrl === undefined) return `got true. Set ${label('redisUrl')} too, or set it to false.`
      return databaseUrl !== undefined && ['pglite', 'sqlite'].includes(databaseKind(databaseUrl.reveal()))
        ? `got true, but ${label('databaseUrl')} is a database of one machine: its tenants are not to be shared. Set it to false.`
        : undefined
    },
  },
  {
    about: ['chooseServer', 'servers'],
    problem: ({ servers, chooseServer }) =>
      chooseServer !== undefined && Object.keys(servers).length === 0
        ? `got a function that could choose \`main\` only. Give ${label('servers')}, or remove it.`
        : undefined,
  },
  {
    about: ['registrySchema', 'extensionsSchema', 'rlsSchema', 'prefixSchema', 'sharedSchema'],
    problem: (values) => {
      const names = ['registrySchema', 'extensionsSchema', 'rlsSchema', 'prefixSchema', 'sharedSchema'] as const
      const twin = names.find((name, at) =>
        names.some((other, before) => before < at && values[other] === values[name]),
      )
      if (twin === undefined) return undefined
      return `got "${values.registrySchema}"; "${values[twin]}" is the name of two schemas (${label(twin)}). Use five different names.`
    },
  },
  {
    about: ['tenantRoles', 'isolationStrategy', 'databaseUrl', 'sharedTables'],
    problem: (values) => tenantRolesProblem(values, label),
  },
  {
    about: ['sharedTables', 'sharedMigrations'],
    problem: ({ sharedTables, sharedMigrations }) => {
      if (sharedTables.length > 0 && sharedMigrations === undefined) {
        return `${received('sharedTables', sharedTables)}, but no migrations that make them. Set ${label('sharedMigrations')}.`
      }
      if (sharedTables.length > 0 || sharedMigrations === undefined) return undefined
      return `missing. ${label('sharedMigrations')} makes tables that nobody could read: name them.`
    },
  },
  {
    about: ['sharedWritable', 'sharedTables'],
    problem: ({ sharedWritable, sharedTables }) => {
      const stranger = sharedWritable.find((name) => !sharedTables.includes(name))
      return stranger === undefined
        ? undefined
        : `${received('sharedWritable', stranger)}, which is not in ${label('sharedTables')}. Name it there too.`
    },
  },
  {
    about: ['schemaScoping', 'isolationStrategy', 'databaseUrl', 'tenantRoles', 'pooler', 'servers'],
    problem: (values) => schemaScopingProblem(values, label),
  },
  {
    about: [
      'enableEncryption',
      'encryptionKey',
      'encryptionOldKeys',
      'encryptionPassphrase',
      'encryptionKms',
      'allowPlaintext',
    ],
    problem: (values) => encryptionProblem(values, label),
  },
  {
    about: ['maxTenants', 'tenantStore'],
    problem: ({ maxTenants, tenantStore }) =>
      maxTenants === undefined || tenantStore === undefined
        ? undefined
        : `got ${maxTenants}, which a registry of your own does not know. Give it the limit: \`createMemoryTenantStore({ maxTenants })\` for one.`,
  },
  {
    about: ['premiumIsolationStrategy', 'standardIsolationStrategy', 'isolationStrategy'],
    problem: ({ isolationStrategy, premiumIsolationStrategy, standardIsolationStrategy }) =>
      isolationStrategy === 'hybrid' && premiumIsolationStrategy === standardIsolationStrategy
        ? `got \`${premiumIsolationStrategy}\`, the same as ${label('standardIsolationStrategy')}. Use two different ones, or set ${label('isolationStrategy')} to it.`
        : undefined,
  },
  {
    about: ['changeChannel', 'databaseUrl', 'tenantStore'],
    problem: ({ changeChannel, databaseUrl, tenantStore }) => {
      if (changeChannel !== 'listen') return undefined
      if (tenantStore !== undefined) return 'got `listen`, but a store of your own announces nothing in PostgreSQL.'
      return databaseUrl !== undefined && databaseKind(databaseUrl.reveal()) !== 'postgres'
        ? 'got `listen`, which needs a registry on PostgreSQL. Use `auto`, `redis` or `poll`.'
        : undefined
    },
  },
  {
    about: ['changeChannel', 'redisUrl'],
    problem: ({ changeChannel, redisUrl }) =>
      changeChannel === 'redis' && redisUrl === undefined ? `got \`redis\`. Set ${label('redisUrl')} too.` : undefined,
  },
  {
    about: ['chooseStrategy', 'isolationStrategy'],
    problem: ({ isolationStrategy, chooseStrategy }) =>
      isolationStrategy !== 'hybrid' && chooseStrategy !== undefined
        ? `got a function that nothing would call. Set ${label('isolationStrategy')} to \`hybrid\`, or remove it.`
        : undefined,
  },
]

/**
 * Checks what the user gave, fills in what is missing, and freezes the result. Options win over the environment.
 *
 * @param environment default: `process.env`, read now. Never a `.env` file.
 * @throws TENANCY_ERR_CONFIG_INVALID with every problem in one message
 */
export function parseConfig(
  options: TenancyOptions,
  environment: Readonly<Record<string, string | undefined>> = process.env,
): TenancyConfig {
  const problems: string[] = [...unknownOptions(options), ...unknownVariables(environment)]
  const failed = new Set<OptionName>()
  const values: Record<string, unknown> = {}
  for (const name of optionNames) {
    const given = valueOf(name, options, environment)
    const result = configSchema.shape[name].safeParse(given)
    if (!result.success) {
      failed.add(name)
      problems.push(...refused(name, given, result.error.issues).map((problem) => `${label(name)}: ${problem}`))
    } else if (result.data !== undefined) values[name] = result.data
  }
  if (mayEmbed(values, failed, environment)) values['databaseUrl'] = secret('pglite:memory')
  for (const { about, problem } of rules) {
    const found = about.some((name) => failed.has(name)) ? undefined : problem(values as Checked)
    problems.push(...[found ?? []].flat().map((one) => `${label(about[0])}: ${one}`))
  }
  if (problems.length > 0) {
    throw tenancyError('TENANCY_ERR_CONFIG_INVALID', [problems.map((problem) => `- ${problem}`).join('\n')])
  }
  return complete(values as Checked)
}

/** Fills in what another option gives. */
function complete(values: Checked): TenancyConfig {
  const server = ({ databaseUrl, adminDatabaseUrl, pooler }: ServerEntry): ServerConfig =>
    Object.freeze({
      databaseUrl,
      adminDatabaseUrl: adminDatabaseUrl ?? databaseUrl,
      pooler: pooler ?? values.pooler,
    })
  const servers = Object.entries(values.servers).map(([name, entry]) => [name, server(entry)] as const)
  return Object.freeze({
    adminDatabaseUrl: values.databaseUrl,
    ...values,
    servers: Object.freeze(Object.fromEntries(servers)),
  }) as TenancyConfig
}

/** The table of options, as docs/configuration.md shows it. */
export function configReference(): ConfigRow[] {
  return optionNames.map((option) => {
    const { kind, type, range, meaning, default: told } = noteOf(option)
    return {
      option,
      ...(kind === 'code' ? {} : { variable: variableName(option) }),
      type,
      default: told ?? shownDefault(configSchema.shape[option].safeParse(undefined).data),
      range,
      meaning,
    }
  })
}

/** The options of every rule between options, which docs/configuration.md tells. */
export function configRules(): readonly (readonly string[])[] {
  return rules.map(({ about }) => about)
}

type Environment = Readonly<Record<string, string | undefined>>

function noteOf(name: OptionName): Note {
  return notes.get(configSchema.shape[name]) as Note
}

function label(name: OptionName): string {
  return noteOf(name).kind === 'code' ? name : `${name} (${variableName(name)})`
}

function valueOf(name: OptionName, options: TenancyOptions, environment: Environment): unknown {
  const given: unknown = Object.hasOwn(options, name) ? options[name] : undefined
  const { kind } = noteOf(name)
  return given !== undefined || kind === 'code' ? given : fromText(environment[variableName(name)], kind)
}

/** Embedded PGlite stands in only where nobody said anything about a database and data may be lost. */
function mayEmbed(values: Partial<Checked>, failed: ReadonlySet<OptionName>, { NODE_ENV }: Environment): boolean {
  const silent = (['databaseUrl', 'adminDatabaseUrl', 'servers'] as const).every(
    (name) => Object.keys(values[name] ?? {}).length === 0 && !failed.has(name),
  )
  return silent && (NODE_ENV === 'development' || NODE_ENV === 'test')
}

/** What the schema says of a value, a sentence for each problem. */
function refused(name: OptionName, given: unknown, issues: readonly z.core.$ZodIssue[]): string[] {
  if (name === 'servers') return refusedServers(given, issues)
  const isUrl = name === 'databaseUrl' || name === 'adminDatabaseUrl'
  return [`${received(name, given)}${isUrl ? faultBehind(given) : ''}. Use ${noteOf(name).range}.`]
}

/** What was received, for a message; never a secret, nor anything that may hold one. */
function received(name: OptionName, value: unknown): string {
  if (noteOf(name).secret) return `got ${kindOf(name, value)} (not shown)`
  if (typeof value === 'number' || typeof value === 'boolean') return `got ${value}`
  if (Array.isArray(value) && value.some((item) => typeof item === 'object')) return 'got a list with objects in it'
  const shown = Array.isArray(value) ? JSON.stringify(value) : value
  if (typeof shown !== 'string') return `got ${quoteReceived(shown)}`
  if (shown.includes('://')) return 'got a URL (not shown)'
  return `got ${Array.isArray(value) ? shown : quoteReceived(shown)}`
}

/** What a secret value is, in a word. */
function kindOf(name: OptionName, value: unknown): string {
  if (Array.isArray(value)) return 'a list'
  if (typeof value !== 'string') return typeof value === 'object' ? 'an object' : `a ${typeof value}`
  return noteOf(name).type === 'URL' ? 'a URL' : 'a text'
}

function shownDefault(value: unknown): string {
  if (value === undefined) return 'none'
  if (typeof value === 'object' && value !== null && Object.keys(value).length === 0) return 'none'
  if (Array.isArray(value)) return value.map((item) => `\`${item}\``).join(', ')
  return `\`${value as string | number | boolean}\``
}

function unknownOptions(options: TenancyOptions): string[] {
  return (
    Object.keys(options)
      .filter((name) => !Object.hasOwn(configSchema.shape, name))
      // Whoever spreads a URL in the wrong place has its password in a name.
      .map(
        (name) => `${name.includes('://') ? 'a URL (not shown)' : name}: unknown option. ${advice(name, optionNames)}`,
      )
  )
}

function unknownVariables(environment: Environment): string[] {
  const known = optionNames.filter((name) => noteOf(name).kind !== 'code').map(variableName)
  return Object.keys(environment)
    .filter((name) => name.toUpperCase().startsWith(PREFIX) && !name.toUpperCase().startsWith(`${PREFIX}TEST_`))
    .filter((name) => environment[name]?.trim() && !known.includes(name))
    .map((name) => {
      const codeOnly = optionNames.find((option) => variableName(option) === name)
      if (codeOnly !== undefined) return `${name}: ${codeOnly} is no text. Remove the variable and give it in code.`
      return `${name}: unknown variable. ${advice(name, known)}`
    })
}

function advice(name: string, candidates: readonly string[]): string {
  const meant = closest(name, candidates)
  return meant === undefined ? 'Remove it.' : `Did you mean ${meant}?`
}
