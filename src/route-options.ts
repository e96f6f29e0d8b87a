import type { FastifyRequest } from 'fastify'
import { tenancyError } from './errors.ts'

/**
 * `config.tenancy` of a route. `false`: no tenant here. `true`: a tenant here, even below an excluded path. `transaction`:
 * all statements of a request in one transaction, opened at the first, committed before the reply is sent, rolled back
 * when the handler throws.
 */
export type RouteTenancy = boolean | { readonly transaction: boolean }

/** What a route wants. */
export interface RouteMode {
  readonly tenant: boolean
  readonly transaction: boolean
}

const NONE: RouteMode = Object.freeze({ tenant: false, transaction: false })
const TENANT: RouteMode = Object.freeze({ tenant: true, transaction: false })
const TRANSACTION: RouteMode = Object.freeze({ tenant: true, transaction: true })

/** Reads `config.tenancy` of the route `url`. @throws TENANCY_ERR_ROUTE_CONFIG_INVALID */
export function routeMode(url: string, setting: unknown, excluded: (url: string) => boolean): RouteMode {
  if (setting === undefined) return excluded(url) ? NONE : TENANT
  if (setting === false) return NONE
  if (setting === true) return TENANT
  if (typeof setting === 'object' && setting !== null) {
    const { transaction, ...unknown } = setting as { transaction?: unknown }
    if (typeof transaction === 'boolean' && Object.keys(unknown).length === 0) return transaction ? TRANSACTION : TENANT
  }
  throw tenancyError('TENANCY_ERR_ROUTE_CONFIG_INVALID', [url, 'use true, false or { transaction: true }'])
}

/** A CORS pre-flight carries no tenant and must never be refused for that. */
export function isPreflight({ method, headers }: FastifyRequest): boolean {
  return method === 'OPTIONS' && headers.origin !== undefined && headers['access-control-request-method'] !== undefined
}
