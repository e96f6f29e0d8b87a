import type { FastifyReply, FastifyRequest, RouteOptions } from 'fastify'
import type { RequestTransaction } from './isolation/tenant-databases.ts'

/** The transactions of the requests under way that have one: few, so the others need not carry a field for it. */
const transactions = new WeakMap<FastifyRequest, RequestTransaction>()

/** Makes a route end its transaction before its reply is sent: COMMIT, or ROLLBACK when the handler failed. */
export function endTransactionOf(route: RouteOptions): void {
  route.onError = [...hooksOf(route.onError), rollBack]
  route.onSend = [...hooksOf(route.onSend), commit]
}

/** Gives a request its transaction. Whoever leaves early, the connection goes back. */
export function keepTransaction(request: FastifyRequest, { raw }: FastifyReply, transaction: RequestTransaction): void {
  transactions.set(request, transaction)
  // After a commit this does nothing.
  raw.once('close', () => void transaction.rollback())
}

async function rollBack(request: FastifyRequest): Promise<void> {
  await transactions.get(request)?.rollback()
}

async function commit(request: FastifyRequest, _reply: FastifyReply, payload: unknown): Promise<unknown> {
  // After a rollback this does nothing.
  await transactions.get(request)?.commit()
  return payload
}

function hooksOf<T>(hooks: T | T[] | undefined): T[] {
  if (hooks === undefined) return []
  return Array.isArray(hooks) ? hooks : [hooks]
}
