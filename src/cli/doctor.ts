import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { parseConfig } from '../config.ts'
import type { DoctorReport, Finding } from '../contracts/verification.ts'
import { type DatabaseKind, databaseKind } from '../database-url.ts'
import { locationOf } from '../dialects/sqlite/location.ts'
import { diagnose } from '../doctor.ts'
import { isTenancyError, tenancyError } from '../errors.ts'
import { configuredServers } from '../servers.ts'
import { configuredStrategy } from '../strategy.ts'
import { createMemoryTenantStore } from '../tenants/memory-store.ts'
import { finding, type RuleId, rules } from '../verification/rules.ts'
import type { Output } from './output.ts'
import { told } from './told.ts'

/** How the doctor is called. */
export const doctorUsage = `fastify-tenancy doctor [--json]

Looks at everything that tenants share, by the rules of docs/doctor.md. Changes nothing. The databases are those of the
variables TENANCY_DATABASE_URL, TENANCY_ADMIN_DATABASE_URL, TENANCY_ISOLATION_STRATEGY and so on, as for the app.

  --json  the report as JSON

Exit status: 0 when nothing lets rows of another tenant be reached (there may be warnings), 1 when something does,
2 when it could not be found out.
`

type Environment = Readonly<Record<string, string | undefined>>

/** By default it would be `schema`, and an app that says something else in code would hear of rules that are not its own. */
const STRATEGY = 'TENANCY_ISOLATION_STRATEGY'

const OK = 0
const BREACH = 1
const UNKNOWN = 2

/** The rule that is broken where the start is refused, because policies do not bind who serves. */
const BYPASS_RULES: Partial<Record<DatabaseKind, RuleId>> = { mssql: 'mssql-1' }

/** Runs the command. @param environment what the configuration is read from */
export function doctor(args: readonly string[], output: Output, environment: Environment): number | Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: { json: { type: 'boolean', default: false }, help: { type: 'boolean', short: 'h' } },
  })
  if (values.help) {
    output.out(doctorUsage)
    return OK
  }
  if (environment[STRATEGY] === undefined) {
    output.err(`fastify-tenancy doctor: set ${STRATEGY} to what the app uses. It decides which rules are asked.\n`)
    return UNKNOWN
  }
  return examine(environment).then(
    (report) => {
      output.out(values.json ? `${JSON.stringify(report, null, 2)}\n` : table(report))
      return report.ok ? OK : BREACH
    },
    (error: unknown) => {
      output.err(`fastify-tenancy doctor: ${told(error)}\n`)
      return UNKNOWN
    },
  )
}

async function examine(environment: Environment): Promise<DoctorReport> {
  // No request is served and no tenant is looked up: what only code can give is not needed.
  const config = parseConfig(
    { tenantStore: createMemoryTenantStore(), resolutionStrategy: 'header', resolutionMustAgree: false },
    environment,
  )
  assertFound([config, ...Object.values(config.servers)].map(({ databaseUrl }) => databaseUrl.reveal()))
  const server = configuredServers(config, { onStatement: undefined, warn() {} })
  const { strategy } = configuredStrategy(config, server.capabilities)
  try {
    await server.open()
    return await diagnose(server, strategy.needs, config)
  } catch (error) {
    // The start is refused for a rule: that is what was found out.
    if (!isTenancyError(error, 'TENANCY_ERR_RLS_BYPASSED')) throw error
    const rule = BYPASS_RULES[databaseKind(config.databaseUrl.reveal())] ?? 'rls-1'
    const refusal = finding(rule, 'databaseUrl', error.message)
    return { ok: false, promises: [], rules: [refusal.rule], findings: [refusal] }
  } finally {
    await server.close()
  }
}

/** Opening a database that is a file would make it, and an empty one keeps every rule. */
function assertFound(urls: readonly string[]): void {
  for (const path of urls.map(localPath)) {
    if (path === undefined || existsSync(path)) continue
    throw tenancyError('TENANCY_ERR_VERIFY_FAILED', [`there is no database at ${path}, and none was made`])
  }
}

function localPath(url: string): string | undefined {
  const kind = databaseKind(url)
  if (kind === 'sqlite') return locationOf(url).mainFile
  return kind === 'pglite' && url !== 'pglite:memory' ? resolve(url.slice('pglite:'.length)) : undefined
}

const MARKS: Readonly<Record<Finding['severity'], string>> = { error: 'ERROR', warning: 'warn ', info: 'info ' }

/** The report for people: what each strategy promises, what was found, and how many rules are kept. */
function table({ promises, rules: asked, findings }: DoctorReport): string {
  const broken = new Set(findings.map(({ rule }) => rule))
  const kept = asked.filter((rule) => !broken.has(rule))
  const lines = [
    ...promises.map(({ strategy, level, by }) => `${strategy}: ${level} (${by})`),
    '',
    ...findings.flatMap(({ rule, severity, server, object, detail, cure }) => [
      `${MARKS[severity]} ${rule.padEnd(9)} ${server === undefined ? '' : `[${server}] `}${object}: ${detail}`,
      `      ${cure}`,
    ]),
    ...kept.map((rule) => `ok    ${rule.padEnd(9)} ${rules[rule as RuleId][1]}`),
    '',
    `${asked.length} rules: ${kept.length} kept, ${broken.size} broken.`,
  ]
  return `${lines.join('\n')}\n`
}
