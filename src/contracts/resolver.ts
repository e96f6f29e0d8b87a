/** What a resolver may look at. A FastifyRequest is one; `host` already obeys Fastify's `trustProxy`. */
export interface ResolvableRequest {
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  /** Host with port, as Fastify gives it. */
  readonly host: string
  /** Path and query before any rewrite. */
  readonly originalUrl: string
  /** Node's request: what was sent before anything was joined or left out. */
  readonly raw?: { readonly rawHeaders?: readonly string[] | undefined } | undefined
}

/**
 * Who is asked for? A pure function of the request, without I/O (custom ones may be async).
 *
 * `undefined`: this request names no tenant here, a chain goes on. A string: the claim, as received; the caller checks
 * its form, and a malformed claim is a refusal, never a reason to ask the next resolver.
 */
export interface TenantResolver<TRequest extends ResolvableRequest = ResolvableRequest> {
  readonly name: string
  resolve(request: TRequest): string | undefined | Promise<string | undefined>
}
