import type { DatabaseServer } from './contracts/dialect.ts'
import { isTenancyError, tenancyError, type TenancyError } from './errors.ts'

/** Options of {@link patientServer}. */
export interface PatientServerOptions {
  /** As the configuration names it. */
  readonly name: string
  /** Told a sentence about every change after the start. */
  readonly warn: (sentence: string) => void
  /** Milliseconds between two attempts to open it. Default 5000, what `Retry-After` says. */
  readonly retryMs?: number
}

/**
 * A server that need not be there when the process starts. While it could not be opened its tenants get
 * TENANCY_ERR_DATABASE_UNAVAILABLE, and it is tried again and again. What keeps it closed otherwise, such as a serving role
 * that policies do not bind, fails the start; found later, it keeps it closed. Once opened it is the server itself, which
 * outlives a database that goes away.
 */
export function patientServer(
  server: DatabaseServer,
  { name, warn, retryMs = 5000 }: PatientServerOptions,
): DatabaseServer {
  let failure: TenancyError | undefined
  let attempt: Promise<readonly string[]> | undefined
  let timer: NodeJS.Timeout | undefined
  let closed = false

  /** One at a time, or two would open two pools. */
  const attemptOnce = (): Promise<readonly string[]> => {
    attempt ??= server.open().finally(() => (attempt = undefined))
    return attempt
  }
  const retryLater = (error: TenancyError): void => {
    failure = error
    clearTimeout(timer)
    if (closed) return
    timer = setTimeout(() => void retry(), retryMs)
    timer.unref()
  }
  const retry = async (): Promise<void> => {
    try {
      const warnings = await attemptOnce()
      if (closed) return await server.close()
      failure = undefined
      for (const sentence of ['It answers, and its tenants are served.', ...warnings]) warn(told(name, sentence))
    } catch (error) {
      const before = failure?.code
      const coded = isTenancyError(error) ? error : tenancyError('TENANCY_ERR_DATABASE_UNAVAILABLE', [], error)
      retryLater(coded)
      if (!closed && coded.code !== before) warn(told(name, notOpened(coded)))
    }
  }
  const opened = (): DatabaseServer => {
    if (failure === undefined) return server
    throw closed ? tenancyError('TENANCY_ERR_CLOSED') : tenancyError('TENANCY_ERR_DATABASE_UNAVAILABLE', [], failure)
  }

  return Object.freeze({
    capabilities: server.capabilities,
    textScoped: server.textScoped,
    adopts: server.adopts,
    admin: server.admin,
    shared: server.shared,
    registry: server.registry,
    drizzleImport: server.drizzleImport,
    drizzleSession: server.drizzleSession,
    synchronous: server.synchronous,
    drizzle: server.drizzle,
    parseDdl: server.parseDdl,
    stats: server.stats,

    async open() {
      try {
        const warnings = await attemptOnce()
        failure = undefined
        return warnings.map((sentence) => told(name, sentence))
      } catch (error) {
        if (isTenancyError(error) && error.statusCode === 503) {
          retryLater(error)
          return [told(name, notOpened(error))]
        }
        if (isTenancyError(error)) warn(told(name, error.message))
        throw error
      }
    },

    client: (scope, guard) => opened().client(scope, guard),
    lazyTransaction: (scope, guard) => opened().lazyTransaction(scope, guard),
    forget: (scope) => server.forget?.(scope),
    inNamespace: async (scope, work) => opened().inNamespace(scope, work),
    destroy: async (scope) => opened().destroy(scope),
    release: async (scope) => opened().release?.(scope),
    verify: async (scope) => opened().verify(scope),
    inspect: async () => opened().inspect(),
    async ping() {
      if (failure !== undefined && !closed) throw failure
      await opened().ping()
    },

    async close() {
      closed = true
      clearTimeout(timer)
      await server.close()
    },
  } satisfies DatabaseServer)
}

function told(name: string, sentence: string): string {
  return `Server "${name}": ${sentence}`
}

function notOpened({ code, message, cause }: TenancyError): string {
  const reason: unknown = (cause as { code?: unknown } | undefined)?.code
  const detail = typeof reason === 'string' ? `${code}, ${reason}` : code
  return `It cannot be opened (${detail}), and its tenants are answered 503 until it can: ${message}`
}
