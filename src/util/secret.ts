import { inspect } from 'node:util'

/** A value that can be used and never printed: every way to print it gives `[redacted]`. */
export interface Secret {
  /** The value itself, for the one place that needs it. Never put it into a message. */
  reveal(): string
  /** A URL without its secrets, for diagnosis: `scheme://user:***@host:port/database`. See {@link describeUrl}. */
  describe(): string
  toString(): string
  toJSON(): string
}

/** What stands in for a secret. */
export const REDACTED = '[redacted]'

const MASK = '***'

/** Stands in for the host that URLs of a Unix socket leave out (`postgres://user@/database?host=/folder`). */
const SOCKET_HOST = 'unix-socket.invalid'

/** Wraps `value`. `util.inspect`, `JSON.stringify`, `String()` and template strings of the result never show it. */
export function secret(value: string): Secret {
  return Object.freeze({
    reveal: () => value,
    describe: () => describeUrl(value),
    toString: () => REDACTED,
    toJSON: () => REDACTED,
    [inspect.custom]: () => REDACTED,
  })
}

/**
 * `url` with its password and the values of its query parameters masked. Where it cannot be told for certain which part
 * is the password, as in `postgres://user:1/2@host`, all is redacted.
 */
export function describeUrl(url: string): string {
  if (/^pglite:[^@?]*$/.test(url)) return url
  const parsed = parseUrl(url)
  if (parsed === undefined || !url.startsWith(`${parsed.protocol}//`)) return REDACTED
  const { protocol, username, password, host, pathname, searchParams } = parsed
  const credentials = `${username}${password === '' ? '' : `:${MASK}`}`
  const query = [...new Set(searchParams.keys())].map((name) => `${encodeURIComponent(name)}=${MASK}`).join('&')
  return [
    `${protocol}//`,
    credentials === '' ? '' : `${credentials}@`,
    host === SOCKET_HOST ? '' : host,
    pathname,
    query === '' ? '' : `?${query}`,
  ].join('')
}

/**
 * The parts of `url`, or undefined when it is none or when a password with an unescaped `/`, `?` or `#` may have ended
 * up in another part. The parts are read as the `pg` package reads them.
 */
export function parseUrl(url: string): URL | undefined {
  const text = URL.canParse(url) ? url : url.replace('@/', `@${SOCKET_HOST}/`)
  if (!URL.canParse(text)) return undefined
  const parsed = new URL(text)
  return `${parsed.pathname}${parsed.search}${parsed.hash}`.includes('@') ? undefined : parsed
}
