import type { MysqlAddress } from './mysql-types.ts'

/** A server's address and the database that the URL names. */
export interface MysqlTarget {
  readonly address: MysqlAddress
  readonly database: string | undefined
}

/**
 * Reads `mysql://user:password@host:3306/database?ssl=true`. mysql2 is never given the URL: it would take any option from
 * it, several statements at once and the default database included.
 */
export function parseMysqlUrl(url: string): MysqlTarget {
  const { hostname, port, username, password, pathname, searchParams } = new URL(url)
  const socketPath = searchParams.get('socketPath')
  const ssl = searchParams.get('ssl')
  const database = decodeURIComponent(pathname.slice(1))
  return Object.freeze({
    address: Object.freeze({
      host: hostname.replace(/^\[|\]$/g, ''),
      port: port === '' ? 3306 : Number(port),
      user: decodeURIComponent(username),
      password: decodeURIComponent(password),
      ...(socketPath !== null && { socketPath }),
      ...(ssl !== null && ssl !== 'false' && { ssl: ssl === 'true' ? {} : parsedSsl(ssl) }),
    }),
    database: database === '' ? undefined : database,
  })
}

/** An object in JSON, or the name of one of mysql2's profiles. */
function parsedSsl(text: string): unknown {
  return text.startsWith('{') ? JSON.parse(text) : text
}
