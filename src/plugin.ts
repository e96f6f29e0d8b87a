import type { FastifyInstance, FastifyReply, FastifyRequest, HookHandlerDoneFunction, RouteOptions } from 'fastify'
import fp from 'fastify-plugin'
import { createAdmission } from './admission/admission.ts'
import { parseConfig, type TenancyOptions } from './config.ts'
import { currentContext, enterContext, TenancyContext } from './context.ts'
import type { Tenant } from './contracts/tenant.ts'
import { findTenancyError, isTenancyError, tenancyError } from './errors.ts'
import type { RequestTransaction } from './isolation/tenant-databases.ts'
import { sendProblem } from './problem.ts'
import type { TenantDb } from './register.ts'
import { configuredResolver } from './resolver.ts'
import { isPreflight, type RouteMode, routeMode, type RouteTenancy } from './route-options.ts'
import { createTenancy, type Tenancy } from './tenancy.ts'
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

const kMode = Symbol('fastify-tenancy.mode')
const kContext = Symbol('fastify-tenancy.context')
const kTransaction = Symbol('fastify-tenancy.transaction')
const kFailed = Symbol('fastify-tenancy.failed')

interface TenancyRequest extends FastifyRequest {
  [kContext]: TenancyContext | null
  [kTransaction]: RequestTransaction | null
  [kFailed]: boolean
}

/** Makes a Fastify 5 app multi-tenant. See docs/configuration.md for the options. */
export const tenancy = fp(
  async function fastifyTenancy(app: FastifyInstance, options: TenancyOptions) {
    if (app.hasDecorator('tenancy')) throw tenancyError('TENANCY_ERR_ALREADY_REGISTERED')
    const config = parseConfig(options)
    const instance = createTenancy(config, app.log)
    const excluded = pathMatcher(config.excludedPaths)
    const admit = createAdmission({
      resolver: configuredResolver(config),
      tenants: instance.lookup,
      authorize: config.authorize,
    })

    app.decorate('tenancy', instance)
    app.decorateRequest(kContext as unknown as string, null)
    app.decorateRequest(kTransaction as unknown as string, null)
    app.decorateRequest(kFailed as unknown as string, false)
    app.decorateRequest('tenant', { getter: tenantOf })
    app.decorateRequest('tenantDb', { getter: databaseOf })

    function modeOf({ routeOptions: { config: route, url = '' } }: FastifyRequest): RouteMode {
      const known: RouteMode | undefined = Reflect.get(route, kMode)
      if (known !== undefined) return known
      // A route from before this plugin: it has no hook of ours that could commit.
      const mode = routeMode(url, route.tenancy, excluded)
      if (!mode.transaction) return mode
      throw tenancyError('TENANCY_ERR_ROUTE_CONFIG_INVALID', [
        url,
        'register fastify-tenancy before routes with a transaction',
      ])
    }

    function enter(
      request: TenancyRequest,
      reply: FastifyReply,
      tenant: Tenant,
      mode: RouteMode,
      done: HookHandlerDoneFunction,
    ) {
      let context = new TenancyContext(instance, tenant)
      if (mode.transaction) {
        const transaction = instance.transactionOf(tenant)
        request[kTransaction] = transaction
        // Whoever leaves early, the connection goes back; after a commit this does nothing.
        reply.raw.once('close', () => void transaction.rollback())
        context = context.inTransaction(transaction.database)
      }
      request[kContext] = context
      enterContext(context, done)
    }

    function resolveTenant(request: FastifyRequest, reply: FastifyReply, done: HookHandlerDoneFunction) {
      if (request.is404 || isPreflight(request)) return done()
      try {
        const mode = modeOf(request)
        if (!mode.tenant) return done()
        const tenant = admit(request)
        if (!(tenant instanceof Promise)) return enter(request as TenancyRequest, reply, tenant, mode, done)
        tenant.then(
          (admitted) => enter(request as TenancyRequest, reply, admitted, mode, done),
          (error: unknown) => refuse(error, request, reply, done),
        )
      } catch (error) {
        refuse(error, request, reply, done)
      }
    }

    app.addHook('onRoute', (route: RouteOptions) => {
      const mode = routeMode(route.url, route.config?.tenancy, excluded)
      Object.assign(route, { config: { ...route.config, [kMode]: mode } })
      if (!mode.transaction) return
      route.onError = [...hooksOf(route.onError), markFailed]
      route.onSend = [...hooksOf(route.onSend), finishTransaction]
    })
    app.addHook(config.hook, resolveTenant)
    app.addHook('onError', explain)
    app.addHook('onReady', instance.start)
    app.addHook('onClose', instance.close)
  },
  { fastify: '5.x', name: 'fastify-tenancy' },
)

export default tenancy

/** Refusals are answered here, equal for all; what is not ours goes to the app's error handler. */
function refuse(error: unknown, request: FastifyRequest, reply: FastifyReply, done: HookHandlerDoneFunction): void {
  if (!isTenancyError(error)) {
    done(error as Error)
    return
  }
  if (error.statusCode >= 500) request.log.error({ err: error }, 'the tenant of a request could not be loaded')
  else request.log.debug({ code: error.code }, 'request refused')
  void sendProblem(reply, error)
}

/** Drizzle wraps what its driver throws: this gives the wrapper our status, code and headers, and takes its SQL away. */
async function explain(_request: FastifyRequest, _reply: FastifyReply, error: Error): Promise<void> {
  const cause = findTenancyError(error)
  if (cause === undefined || cause === error) return
  const { code, statusCode, headers, message } = cause
  Object.assign(error, { code, statusCode, message, ...(headers && { headers }) })
}

async function markFailed(request: FastifyRequest): Promise<void> {
  ;(request as TenancyRequest)[kFailed] = true
}

async function finishTransaction(request: FastifyRequest, _reply: FastifyReply, payload: unknown): Promise<unknown> {
  const { [kTransaction]: transaction, [kFailed]: failed } = request as TenancyRequest
  if (failed) await transaction?.rollback()
  else await transaction?.commit()
  return payload
}

function hooksOf<T>(hooks: T | T[] | undefined): T[] {
  if (hooks === undefined) return []
  return Array.isArray(hooks) ? hooks : [hooks]
}

function tenantOf(this: FastifyRequest): Tenant | null {
  return (this as TenancyRequest)[kContext]?.tenant ?? null
}

function databaseOf(this: FastifyRequest): TenantDb {
  const own = (this as TenancyRequest)[kContext]
  if (own === null) throw tenancyError('TENANCY_ERR_NO_TENANT')
  // Inside a transaction of this request the current context knows it; another request's context never counts.
  const current = currentContext()
  return (current?.root === own.root ? current : own).database as TenantDb
}
