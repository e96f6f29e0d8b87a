import { STATUS_CODES } from 'node:http'
import type { FastifyReply } from 'fastify'
import type { TenancyError } from './errors.ts'

/** Media type of RFC 9457. */
const PROBLEM = 'application/problem+json; charset=utf-8'

/**
 * Answers with RFC 9457 problem details: `type`, `title`, `status`, `detail`, and the stable `code`. Two errors of one
 * code give equal answers, headers included.
 */
export function sendProblem(
  reply: FastifyReply,
  { code, message, statusCode, headers = {} }: TenancyError,
): FastifyReply {
  const body = { type: 'about:blank', title: STATUS_CODES[statusCode], status: statusCode, detail: message, code }
  return reply.code(statusCode).headers(headers).type(PROBLEM).send(JSON.stringify(body))
}
