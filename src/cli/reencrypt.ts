import { parseArgs } from 'node:util'
import { configuredCipher } from '../cipher.ts'
import { parseConfig } from '../config.ts'
import { tenancyError } from '../errors.ts'
import { reencrypt, type ReencryptReport } from '../lifecycle/reencrypt.ts'
import { configuredStore } from '../registry.ts'
import { configuredServers } from '../servers.ts'
import { createEncryptingTenantStore } from '../tenants/encrypting-store.ts'
import { createSecretFields } from '../tenants/secret-fields.ts'
import type { Output } from './output.ts'
import { told } from './told.ts'

/** How the job is called. */
export const reencryptUsage = `fastify-tenancy reencrypt [--json]

Opens every secret in the registry, and seals those anew that are not sealed with the current key, as app.tenancy.reencrypt() does. It can be
stopped and run again, and runs beside the app. The settings are those of the variables TENANCY_DATABASE_URL,
TENANCY_ADMIN_DATABASE_URL, TENANCY_ENABLE_ENCRYPTION, TENANCY_ENCRYPTION_KEY, TENANCY_ENCRYPTION_OLD_KEYS and so on, as for
the app. An app with a registry or a key management service of its own calls app.tenancy.reencrypt().

  --json  the report as JSON

Exit status: 0 when all opens and nothing is left of another key, 1 when not, 2 when it could not be found out.
`

type Environment = Readonly<Record<string, string | undefined>>

const OK = 0
const LEFT = 1
const UNKNOWN = 2

/** Runs the command. @param environment what the configuration is read from */
export function reencryptCommand(args: readonly string[], output: Output, environment: Environment) {
  const { values } = parseArgs({
    args: [...args],
    options: { json: { type: 'boolean', default: false }, help: { type: 'boolean', short: 'h' } },
  })
  if (values.help) {
    output.out(reencryptUsage)
    return OK
  }
  return seal(environment).then(
    (report) => {
      output.out(values.json ? `${JSON.stringify(report, null, 2)}\n` : sentence(report))
      return report.unreadable + report.contended === 0 ? OK : LEFT
    },
    (error: unknown) => {
      output.err(`fastify-tenancy reencrypt: ${told(error)}\n`)
      return UNKNOWN
    },
  )
}

async function seal(environment: Environment): Promise<ReencryptReport> {
  // No request is served: what only code can give is not needed.
  const config = parseConfig({ resolutionStrategy: 'header', resolutionMustAgree: false }, environment)
  if (!config.enableEncryption) throw tenancyError('TENANCY_ERR_ENCRYPTION_OFF')
  const server = configuredServers(config, { onStatement: undefined, warn() {} })
  try {
    await server.open()
    const secrets = createSecretFields(configuredCipher(config), config.encryptedPrefix)
    const store = createEncryptingTenantStore({ store: configuredStore(config, server), secrets })
    await store.initialize()
    return await reencrypt(store)
  } finally {
    await server.close()
  }
}

function sentence({ tenants, resealed, unreadable, unreadableIds, contended }: ReencryptReport): string {
  const lines = [
    `${tenants} tenants: ${resealed} sealed anew, ${unreadable} with a secret that does not open, ${contended} to try again.`,
    ...unreadableIds.map((id) => `does not open: ${id}`),
  ]
  return `${lines.join('\n')}\n`
}
