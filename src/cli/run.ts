import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { rolesScript } from '../dialects/postgres/roles-script.ts'
import { quoteReceived } from '../util/identifier.ts'
import { doctor, doctorUsage } from './doctor.ts'
import type { Output } from './output.ts'
import { reencryptCommand, reencryptUsage } from './reencrypt.ts'

interface PackageJson {
  readonly version: string
}

/** Does a command, and gives the exit code. */
type Command = (args: readonly string[], output: Output) => number | Promise<number>

const OK = 0
/** The caller asked for something that is not there. */
const WRONG_USE = 2

/** PostgreSQL cuts longer names off, so that two of them could become one. In bytes. */
const LONGEST_NAME = 63

const rolesUsage = `fastify-tenancy roles --database <name> --serving <role> --admin <role> [--extensions <schema>]
                       [--databases] [--tenant-roles | --qualified]

Prints the SQL that sets up the two roles. It can be run again. Nothing is connected to, no password is set.

  --database    the database of the tenants
  --serving     role of databaseUrl: without a tenant it reaches nothing
  --admin       role of adminDatabaseUrl: DDL and the registry
  --extensions  schema of the extensions that tenants may use (default: extensions)
  --databases   tenants get databases of their own: the admin role may create them
  --tenant-roles  each tenant gets a role of its own: the admin role may create roles, and nobody else may
                change a session from within a statement (set_config, DO)
  --qualified   for \`schemaScoping: 'qualified'\`: nobody but the admin role may change a session like that

Run it as superuser, connected to that database:

  fastify-tenancy roles --database saas --serving app --admin owner > roles.sql &&
    psql -v ON_ERROR_STOP=1 -1 -d saas -f roles.sql
`

const commands: ReadonlyMap<string, Command> = new Map<string, Command>([
  ['roles', roles],
  ['reencrypt', (args, output) => reencryptCommand(args, output, process.env)],
  ['doctor', (args, output) => doctor(args, output, process.env)],
])

const usage = `Usage: ${rolesUsage}
${doctorUsage}
${reencryptUsage}
  fastify-tenancy --help
  fastify-tenancy --version
`

/** Something is wrong with the arguments; the message is for the terminal. */
class UsageError extends Error {
  override readonly name = 'UsageError'
}

/**
 * The command line, without its process.
 * @param args what follows the program's name
 * @returns the exit code: 0, 2 for a wrong use, told on `err`, or what the command says
 */
export function run(args: readonly string[], output: Output): number | Promise<number> {
  const [name, ...rest] = args
  if (name === '--version' || name === '-v') {
    output.out(`${version()}\n`)
    return OK
  }
  if (name === '--help' || name === '-h' || name === 'help') {
    output.out(usage)
    return OK
  }
  const command = name === undefined ? undefined : commands.get(name)
  if (command === undefined) {
    output.err(name === undefined ? usage : wrongUse('fastify-tenancy', `unknown command ${quoteReceived(name)}`))
    return WRONG_USE
  }
  try {
    return command(rest, output)
  } catch (error) {
    if (!(error instanceof UsageError) && !isParseError(error)) throw error
    output.err(wrongUse(`fastify-tenancy ${name}`, error.message))
    return WRONG_USE
  }
}

/** Of this package, which is as far from its sources as from what is built of them. */
function version(): string {
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as PackageJson
  return version
}

function wrongUse(program: string, reason: string): string {
  return `${program}: ${reason.replace(/\.$/, '')}. See \`${program} --help\`.\n`
}

function roles(args: readonly string[], output: Output): number {
  const { values } = parseArgs({
    args: [...args],
    options: {
      database: { type: 'string' },
      serving: { type: 'string' },
      admin: { type: 'string' },
      extensions: { type: 'string' },
      databases: { type: 'boolean', default: false },
      'tenant-roles': { type: 'boolean', default: false },
      qualified: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h' },
    },
  })
  if (values.help) {
    output.out(rolesUsage)
    return OK
  }
  const missing = (['database', 'serving', 'admin'] as const).filter((option) => values[option] === undefined)
  if (missing.length > 0) throw new UsageError(`missing ${missing.map((option) => `--${option}`).join(', ')}`)
  const [database, servingRole, adminRole] = [name(values, 'database'), name(values, 'serving'), name(values, 'admin')]
  if (servingRole === adminRole) throw new UsageError('--serving and --admin must be two roles')
  const extensionsSchema = values.extensions === undefined ? 'extensions' : name(values, 'extensions')
  if (extensionsSchema === 'public') throw new UsageError('--extensions must not be public, which no tenant may use')
  if (values['tenant-roles'] && values.qualified)
    throw new UsageError('--tenant-roles and --qualified exclude each other')
  output.out(
    rolesScript({
      database,
      servingRole,
      adminRole,
      extensionsSchema,
      tenantDatabases: values.databases,
      tenantRoles: values['tenant-roles'],
      qualified: values.qualified,
    }),
  )
  return OK
}

function name(values: Readonly<Record<string, unknown>>, option: string): string {
  const value = String(values[option])
  if (value === '' || Buffer.byteLength(value) > LONGEST_NAME) {
    throw new UsageError(`--${option} must have 1 to ${LONGEST_NAME} bytes, received ${quoteReceived(value)}`)
  }
  // The script quotes names; `$$` would end its DO block, a line break or NUL is no name anybody meant.
  if (value.includes('$$') || /\p{Cc}/u.test(value)) {
    throw new UsageError(`--${option} must not contain "$$" or control characters, received ${quoteReceived(value)}`)
  }
  return value
}

function isParseError(error: unknown): error is Error {
  return error instanceof Error && 'code' in error && String(error.code).startsWith('ERR_PARSE_ARGS_')
}
