import type { FastifyInstance, FastifyReply, FastifyRequest, HookHandlerDoneFunction, RouteOptions } from 'fastify'
import fp from 'fastify-plugin'
import { createAdmission } from './admission/admission.ts'
import { parseConfig, type TenancyOptions } from './config.ts'
import { addApp, noteFailedStart, removeApp, TenancyContext } from './context.ts'
import type { Tenant } from './contracts/tenant.ts'
import { tenancyError } from './errors.ts'
import { explain, refuse } from './problem.ts'
import type { TenantDb } from './register.ts'
import { registryIdentity } from './registry.ts'
import { bindQueuedResponse, bindQueuedResponses, decorateRequests, enter, leave } from './request-context.ts'
import { endTransactionOf, keepTransaction } from './request-transaction.ts'
import { configuredResolver } from './resolver.ts'
import {
  isPreflight,
  modeReader,
  NO_TENANT,
  rememberMode,
  type RouteMode,
  routeMode,
  type RouteTenancy,
} from './route-options.ts'
import { forgetUnseen, noteUnseen } from './sql/adopt.ts'
import { createTenancy, type Tenancy, type TenancyInstance } from './tenancy.ts'
import { pathMatcher } from './util/path-match.ts'

declare module 'fastify' {
  interface FastifyInstance {
    tenancy: Tenancy
  }
  interface FastifyRequest {
    /** The tenant of this request; null where none is resolved. Stays readable in every hook. */
    readonly tenant: Tenant | null
    /** `getTenantDb()` of this request. */
    readonly tenantDb: TenantDb
  }
  interface FastifyContextConfig {
    tenancy?: RouteTenancy
  }
}

/** How much of Fastify's `pluginTimeout` a start may take. */
const SHARE_OF_TIME = 0.95

/** Makes a Fastify 5 app multi-tenant. See docs/configuration.md for the options. */
export const tenancy = fp(
  async function fastifyTenancy(app: FastifyInstance, options: TenancyOptions) {
    if (app.hasDecorator('tenancy')) throw tenancyError('TENANCY_ERR_ALREADY_REGISTERED')
    const config = parseConfig(options)
    let instance = createTenancy(config, app.log)
    const excluded = pathMatcher(config.excludedPaths)
    const resolver = configuredResolver(config)
    const admitting = ({ lookup: tenants }: TenancyInstance) =>
      createAdmission({ resolver, tenants, authorize: config.authorize })
    let admit = admitting(instance)
    let ended: Promise<unknown> = Promise.resolve()

    async function start(): Promise<void> {
      try {
        await inTime(instance.start(), app.initialConfig.pluginTimeout)
      } catch (error) {
        noteFailedStart()
        // What it has opened would keep the process alive. Not awaited: Fastify has no more time. Who tries again does so with another one.
        ended = Promise.all([ended, instance.abandon()])
        instance = createTenancy(config, app.log, ended)
        admit = admitting(instance)
        throw error
      }
    }

    app.decorate('tenancy', { getter: () => instance })
    decorateRequests(app)

    const readMode = modeReader()

    function modeOf(request: FastifyRequest): RouteMode {
      const known = readMode(request)
      if (known !== undefined) return known
      if (request.is404) return NO_TENANT
      // A route from before this plugin: it has no hook of ours that could commit.
      const { config: route, url = '' } = request.routeOptions
      const mode = routeMode(url, route.tenancy, excluded)
      if (!mode.transaction) return mode
      throw tenancyError('TENANCY_ERR_ROUTE_CONFIG_INVALID', [
        url,
        'register fastify-tenancy before routes with a transaction',
      ])
    }

    function contextFor(tenant: Tenant, { transaction }: RouteMode, request: FastifyRequest, reply: FastifyReply) {
      const context = new TenancyContext(instance, tenant)
      if (!transaction) return context
      const opened = instance.transactionOf(tenant)
      keepTransaction(request, reply, opened)
      return context.inTransaction(opened.database)
    }

    function contextOf(request: FastifyRequest, reply: FastifyReply) {
      const mode = modeOf(request)
      if (!mode.tenant || isPreflight(request)) return undefined
      const tenant = admit(request)
      if (!(tenant instanceof Promise)) return contextFor(tenant, mode, request, reply)
      return tenant.then((admitted) => contextFor(admitted, mode, request, reply))
    }

    function resolveTenant(request: FastifyRequest, reply: FastifyReply, done: HookHandlerDoneFunction) {
      // Once more: an app that listens on `localhost` has a second server, without the listener below.
      bindQueuedResponse(request.raw, reply.raw)
      let context: ReturnType<typeof contextOf>
      try {
        context = contextOf(request, reply)
      } catch (error) {
        leave(() => refuse(error, request, reply, done))
        return
      }
      if (context === undefined) leave(done)
      else if (!(context instanceof Promise)) enter(request, reply, context, done)
      else {
        context.then(
          (loaded) => enter(request, reply, loaded, done),
          (error: unknown) => leave(() => refuse(error, request, reply, done)),
        )
      }
    }

    bindQueuedResponses(app.server)
    app.addHook('onRoute', (route: RouteOptions) => {
      const mode = routeMode(route.url, route.config?.tenancy, excluded)
      if (mode.transaction && instance.synchronous) {
        throw tenancyError('TENANCY_ERR_ROUTE_CONFIG_INVALID', [
          route.url,
          'better-sqlite3 has no transaction for a whole request, which all others would wait for; use `getTenantDb().transaction()`',
        ])
      }
      rememberMode(route, mode)
      if (mode.transaction) endTransactionOf(route)
    })
    // A handler may inject a request: what comes before its tenant is known must not run as that of the handler.
    if (config.hook !== 'onRequest') app.addHook('onRequest', (_request, _reply, done) => leave(done))
    app.addHook(config.hook, resolveTenant)
    app.addHook('onError', explain)
    app.addHook('onReady', start)
    addApp(app, registryIdentity(config))
    if (config.schema === undefined) noteUnseen(app)
    app.addHook('onClose', async () => {
      removeApp(app)
      forgetUnseen(app)
      await Promise.all([ended, instance.close()])
    })
  },
  { fastify: '5.x', name: 'fastify-tenancy' },
)

/** Fails a little before Fastify would, whose own error names neither this plugin nor what to do. */
async function inTime(work: Promise<void>, milliseconds = 0): Promise<void> {
  if (milliseconds === 0) return work
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    const fail = () => reject(tenancyError('TENANCY_ERR_START_TIMEOUT', [milliseconds]))
    timer = setTimeout(fail, milliseconds * SHARE_OF_TIME)
  })
  try {
    await Promise.race([work, late])
  } finally {
    clearTimeout(timer)
  }
}

export default tenancy
