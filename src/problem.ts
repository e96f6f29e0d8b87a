import { STATUS_CODES } from 'node:http'
import type { FastifyReply, FastifyRequest, HookHandlerDoneFunction } from 'fastify'
import { reasonOf } from './admission/refusal.ts'
import { findTenancyError, isTenancyError, neutralMessage, type TenancyError } from './errors.ts'

/** Media type of RFC 9457. */
const PROBLEM = 'application/problem+json; charset=utf-8'

/** Refusals are answered here, equal for all; what is not ours goes to the app's error handler. */
export function refuse(
  error: unknown,
  request: FastifyRequest,
  reply: FastifyReply,
  done: HookHandlerDoneFunction,
): void {
  if (!isTenancyError(error)) {
    done(error as Error)
    return
  }
  if (error.statusCode >= 500) request.log.error({ err: error }, 'the tenant of a request could not be loaded')
  else request.log.debug({ code: error.code, reason: reasonOf(error) }, 'request refused')
  void sendProblem(reply, error)
}

/** Drizzle wraps what its driver throws: this gives the wrapper our status, code and headers, and takes its SQL away. */
export async function explain(_request: FastifyRequest, _reply: FastifyReply, error: Error): Promise<void> {
  const cause = findTenancyError(error)
  if (cause === undefined || cause === error) return
  const { code, statusCode, headers, message } = cause
  Object.assign(error, { code, statusCode, message, ...(headers && { headers }) })
}

/**
 * Answers with RFC 9457 problem details: `type`, `title`, `status`, `detail`, and the stable `code`. Two errors of one
 * code give equal answers, headers included.
 */
function sendProblem(reply: FastifyReply, error: TenancyError): FastifyReply {
  const { code, statusCode, headers = {} } = error
  const detail = neutralMessage(error)
  const body = { type: 'about:blank', title: STATUS_CODES[statusCode], status: statusCode, detail, code }
  return reply.code(statusCode).headers(headers).type(PROBLEM).send(JSON.stringify(body))
}
