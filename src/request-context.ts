import type { IncomingMessage, RequestListener, Server, ServerResponse } from 'node:http'
import type { FastifyInstance, FastifyReply, FastifyRequest, HookHandlerDoneFunction } from 'fastify'
import { currentContext, enterContext, type TenancyContext } from './context.ts'
import type { Tenant } from './contracts/tenant.ts'
import { tenancyError } from './errors.ts'
import type { TenantDb } from './register.ts'

const kContext = Symbol('fastify-tenancy.context')

/** On a response that waits in a queue: where its events belong. */
const kOwner = Symbol('fastify-tenancy.owner')

interface Owner {
  context: TenancyContext | undefined
}

interface QueuedResponse extends ServerResponse {
  [kOwner]?: Owner
}

interface ContextRequest extends FastifyRequest {
  [kContext]: TenancyContext | null
}

/** Declares what requests carry, so that all of them have one shape. */
export function decorateRequests(app: FastifyInstance): void {
  app.decorateRequest(kContext as unknown as string, null)
  app.decorateRequest('tenant', { getter: tenantOf })
  app.decorateRequest('tenantDb', { getter: databaseOf })
}

/** Goes on with the request inside `context`: the one `run` of a request. */
export function enter(
  request: FastifyRequest,
  { raw }: FastifyReply,
  context: TenancyContext,
  done: HookHandlerDoneFunction,
): void {
  ;(request as ContextRequest)[kContext] = context
  const owner = (raw as QueuedResponse)[kOwner]
  if (owner !== undefined) owner.context = context
  enterContext(context, done)
}

/** Goes on without a tenant, also where something else put one into the context. */
export function leave(done: () => void): void {
  if (currentContext() === undefined) done()
  else enterContext(undefined, done)
}

/**
 * Calls {@link bindQueuedResponse} before Fastify sees a request, and so before every hook. In place of Fastify's listener
 * and not beside it, because `emit` copies its list at each request where there are two: 1 % of hello-world.
 */
export function bindQueuedResponses(server: Server): void {
  const [listener, ...others] = server.listeners('request') as RequestListener[]
  if (listener === undefined || others.length > 0) {
    server.prependListener('request', bindQueuedResponse)
    return
  }
  server.off('request', listener)
  server.on('request', function onRequest(request, response) {
    bindQueuedResponse(request, response)
    listener.call(server, request, response)
  })
}

/**
 * A response that waits behind another on a pipelined socket (RFC 9112, 9.3.2) has no socket yet, and node finishes it in
 * the context of the one before: its listeners would run as a stranger's tenant. Its events get a context of their own:
 * none, or that of its request.
 */
export function bindQueuedResponse(_request: IncomingMessage, response: QueuedResponse): void {
  if (response.socket !== null || response[kOwner] !== undefined) return
  const owner: Owner = { context: undefined }
  const emit = response.emit
  response[kOwner] = owner
  response.emit = (...event: Parameters<typeof emit>) => enterContext(owner.context, () => emit.apply(response, event))
}

function contextOf(request: FastifyRequest): TenancyContext | undefined {
  return (request as ContextRequest)[kContext] ?? undefined
}

function tenantOf(this: FastifyRequest): Tenant | null {
  return contextOf(this)?.tenant ?? null
}

function databaseOf(this: FastifyRequest): TenantDb {
  const own = contextOf(this)
  if (own === undefined) throw tenancyError('TENANCY_ERR_NO_TENANT')
  // Inside a transaction of this request the current context knows it; another request's context never counts.
  const current = currentContext()
  return (current?.root === own.root ? current : own).database as TenantDb
}
