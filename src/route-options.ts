import type { FastifyRequest, RouteOptions } from 'fastify'
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

/** Without a tenant. */
export const NO_TENANT: RouteMode = Object.freeze({ tenant: false, transaction: false })
const TENANT: RouteMode = Object.freeze({ tenant: true, transaction: false })
const TRANSACTION: RouteMode = Object.freeze({ tenant: true, transaction: true })

/** Reads `config.tenancy` of the route `url`. @throws TENANCY_ERR_ROUTE_CONFIG_INVALID */
export function routeMode(url: string, setting: unknown, excluded: (url: string) => boolean): RouteMode {
  if (setting === undefined) return excluded(url) ? NO_TENANT : TENANT
  if (setting === false) return NO_TENANT
  if (setting === true) return TENANT
  if (typeof setting === 'object' && setting !== null) {
    const { transaction, ...unknown } = setting as { transaction?: unknown }
    if (typeof transaction === 'boolean' && Object.keys(unknown).length === 0) return transaction ? TRANSACTION : TENANT
  }
  throw tenancyError('TENANCY_ERR_ROUTE_CONFIG_INVALID', [url, 'use true, false or { transaction: true }'])
}

/** A CORS pre-flight carries no tenant and must never be refused for that. */
export function isPreflight(request: FastifyRequest): boolean {
  if (request.method !== 'OPTIONS') return false
  return request.headers.origin !== undefined && request.headers['access-control-request-method'] !== undefined
}

/** Where a route's config keeps what was read from it. */
const kMode = Symbol('fastify-tenancy.mode')

/** Notes the mode of a route in its config. */
export function rememberMode(route: RouteOptions, mode: RouteMode): void {
  Object.assign(route, { config: { ...route.config, [kMode]: mode } })
}

/**
 * Reads the remembered mode of a request's route. Fastify builds all of `routeOptions` at each access, which cost 3 % of
 * hello-world; the request itself holds the config under one of its symbols. The first request that has a mode tells
 * which, and where none does the public way is taken.
 */
export function modeReader(): (request: FastifyRequest) => RouteMode | undefined {
  let holder: symbol | undefined
  return function readMode(request) {
    if (holder !== undefined) return modeIn((request as unknown as Record<symbol, unknown>)[holder])
    const mode = modeIn(request.routeOptions)
    if (mode !== undefined) {
      holder = Object.getOwnPropertySymbols(request).find((symbol) => modeIn(Reflect.get(request, symbol)) === mode)
    }
    return mode
  }
}

function modeIn(context: unknown): RouteMode | undefined {
  return (context as { config?: { [kMode]?: RouteMode } } | null)?.config?.[kMode]
}
