import type { DatabaseServer, PoolStats } from './contracts/dialect.ts'
import type { Scope } from './contracts/isolation.ts'
import type { DdlTemplate } from './contracts/migrator.ts'
import { MAIN_SERVER, type StrategyName } from './contracts/tenant.ts'
import { tenancyError } from './errors.ts'

/** Options of {@link routeToServers}. */
export interface RouteToServersOptions {
  /** Holds the registry; without it nothing runs. */
  readonly main: DatabaseServer
  /** The servers beside it, of the same kind, by name. */
  readonly others: ReadonlyMap<string, DatabaseServer>
  /** What may be asked of any of them. */
  readonly strategies: readonly StrategyName[]
}

/** Several servers as one: whatever has a scope goes to the server that the scope names, everything else to `main`. */
export interface ServerRouter extends DatabaseServer {
  /** The servers beside `main`, by name. */
  readonly others: ReadonlyMap<string, Pick<DatabaseServer, 'ping'>>
}

/**
 * A scope whose server is not there is an error, TENANCY_ERR_SERVER_NOT_CONFIGURED: never another server.
 * @throws TENANCY_ERR_CONFIG_INVALID when a server carries something else than `main`
 */
export function routeToServers({ main, others, strategies }: RouteToServersOptions): ServerRouter {
  const servers: ReadonlyMap<string, DatabaseServer> = new Map([[MAIN_SERVER, main], ...others])
  for (const [name, server] of others) assertAlike(name, server, main, strategies)
  const of = ({ server }: Scope): DatabaseServer => {
    const found = servers.get(server)
    if (found === undefined) throw tenancyError('TENANCY_ERR_SERVER_NOT_CONFIGURED')
    return found
  }

  return Object.freeze({
    others,
    capabilities: main.capabilities,
    textScoped: main.textScoped,
    adopts: main.adopts,
    admin: main.admin,
    shared: main.shared,
    registry: main.registry,
    drizzleImport: main.drizzleImport,
    drizzleSession: main.drizzleSession,
    synchronous: main.synchronous,
    drizzle: main.drizzle,
    ping: main.ping,

    async open() {
      const warnings = await main.open()
      const further = await Promise.all([...others.values()].map((server) => server.open()))
      return [...warnings, ...further.flat()]
    },

    client: (scope, guard) => of(scope).client(scope, guard),
    lazyTransaction: (scope, guard) => of(scope).lazyTransaction(scope, guard),
    // Of a server that is not configured nothing is open.
    forget: (scope) => servers.get(scope.server)?.forget?.(scope),
    inNamespace: async (scope, work) => of(scope).inNamespace(scope, work),
    destroy: async (scope) => of(scope).destroy(scope),
    release: async (scope) => of(scope).release?.(scope),
    verify: async (scope) => of(scope).verify(scope),
    async inspect() {
      const inspections = await Promise.all(
        [...servers].map(async ([name, server]) => {
          const { rules, findings } = await server.inspect()
          return {
            rules,
            findings: name === MAIN_SERVER ? findings : findings.map((one) => ({ ...one, server: name })),
          }
        }),
      )
      return {
        rules: [...new Set(inspections.flatMap(({ rules }) => rules))],
        findings: inspections.flatMap(({ findings }) => findings),
      }
    },

    parseDdl(statement) {
      // What cannot be read is told now; what it is written as depends on the server.
      const templates = new Map<DatabaseServer, DdlTemplate>([[main, main.parseDdl(statement)]])
      return Object.freeze({
        render(scope) {
          const server = of(scope)
          const template = templates.get(server) ?? server.parseDdl(statement)
          templates.set(server, template)
          return template.render(scope)
        },
      } satisfies DdlTemplate)
    },

    stats() {
      const further = [...others].flatMap(([name, server]) =>
        Object.entries(server.stats()).map(([pool, stats]): [string, PoolStats] => [`${name}.${pool}`, stats]),
      )
      return { ...main.stats(), ...Object.fromEntries(further) }
    },

    async close() {
      // All at once: they share one deadline, and one that fails must not keep the others open.
      const results = await Promise.allSettled([...servers.values()].map((server) => server.close()))
      for (const result of results) if (result.status === 'rejected') throw result.reason
    },
  } satisfies ServerRouter)
}

function assertAlike(
  name: string,
  server: DatabaseServer,
  main: DatabaseServer,
  strategies: readonly StrategyName[],
): void {
  const different = strategies.find((one) => server.capabilities[one] !== main.capabilities[one])
  if (different === undefined) return
  throw tenancyError('TENANCY_ERR_CONFIG_INVALID', [
    `- servers: "${name}" does not carry the isolation strategy "${different}" as \`main\` does. Every server must carry every strategy that is configured.`,
  ])
}
