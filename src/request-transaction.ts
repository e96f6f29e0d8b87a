import type { FastifyInstance, FastifyReply, FastifyRequest, RouteOptions } from 'fastify'
import type { RequestTransaction } from './isolation/tenant-databases.ts'

const kTransaction = Symbol('fastify-tenancy.transaction')
const kFailed = Symbol('fastify-tenancy.failed')

interface TransactionRequest extends FastifyRequest {
  [kTransaction]: RequestTransaction | null
  [kFailed]: boolean
}

/** Declares what requests carry, so that all of them have one shape. */
export function decorateTransactions(app: FastifyInstance): void {
  app.decorateRequest(kTransaction as unknown as string, null)
  app.decorateRequest(kFailed as unknown as string, false)
}

/** Makes a route end its transaction before its reply is sent: COMMIT, or ROLLBACK when the handler failed. */
export function endTransactionOf(route: RouteOptions): void {
  route.onError = [...hooksOf(route.onError), markFailed]
  route.onSend = [...hooksOf(route.onSend), endTransaction]
}

/** Gives a request its transaction. Whoever leaves early, the connection goes back. */
export function keepTransaction(request: FastifyRequest, reply: FastifyReply, transaction: RequestTransaction): void {
  ;(request as TransactionRequest)[kTransaction] = transaction
  // After a commit this does nothing.
  reply.raw.once('close', () => void transaction.rollback())
}

async function markFailed(request: FastifyRequest): Promise<void> {
  ;(request as TransactionRequest)[kFailed] = true
}

async function endTransaction(request: FastifyRequest, _reply: FastifyReply, payload: unknown): Promise<unknown> {
  const { [kTransaction]: transaction, [kFailed]: failed } = request as TransactionRequest
  if (failed) await transaction?.rollback()
  else await transaction?.commit()
  return payload
}

function hooksOf<T>(hooks: T | T[] | undefined): T[] {
  if (hooks === undefined) return []
  return Array.isArray(hooks) ? hooks : [hooks]
}
