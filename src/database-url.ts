import { parseUrl } from './util/secret.ts'

/** The URLs that `databaseUrl` may have. */
export const urlForms =
  '`postgres://…`, `postgresql://…`, `mysql://…`, `mariadb://…`, `mssql://…`, `sqlserver://…`, `file:<path>` (SQLite), `pglite:memory` or `pglite:<folder>`'
/** The URLs that `adminDatabaseUrl` may have. */
export const adminUrlForms =
  '`postgres://…`, `postgresql://…`, `mysql://…`, `mariadb://…`, `mssql://…` or `sqlserver://…`'

/** Whether a URL is one that `databaseUrl` may have. */
export function isAnyUrl(url: string): boolean {
  return isServerUrl(url) || isFile(url) || isEmbeddedUrl(url)
}

/** Whether a URL leads to a server, with accounts. */
export function isServerUrl(url: string): boolean {
  return isPostgresUrl(url) || isMysqlUrl(url) || isMssqlUrl(url)
}

/** A URL with a part that may be a piece of its password is refused: it would be sent to a host nobody meant. */
function isPostgresUrl(url: string): boolean {
  if (!/^postgres(ql)?:\/\//.test(url)) return false
  const parsed = parseUrl(url)
  if (parsed === undefined || parsed.hash !== '' || parsed.hostname.includes(',')) return false
  return parsed.hostname !== '' || Boolean(parsed.searchParams.get('host'))
}

/** Options of the driver, such as several statements at once, do not come from a URL. */
const mysqlParameters = ['ssl', 'socketPath']

function isMysqlUrl(url: string): boolean {
  if (!isMysql(url) || /%(?![\da-f]{2})/i.test(url)) return false
  const parsed = parseUrl(url)
  if (parsed === undefined || parsed.hash !== '' || parsed.hostname === '' || parsed.hostname.includes(','))
    return false
  return [...parsed.searchParams.keys()].every((name) => mysqlParameters.includes(name))
}

function isMysql(url: string): boolean {
  return /^(mysql|mariadb):\/\//.test(url)
}

const mssqlParameters = ['encrypt', 'trustServerCertificate']

function isMssqlUrl(url: string): boolean {
  if (!isMssql(url) || /%(?![\da-f]{2})/i.test(url)) return false
  const parsed = parseUrl(url)
  if (parsed === undefined || parsed.hash !== '' || parsed.hostname === '' || /[,\\]/.test(parsed.hostname))
    return false
  // The database is where every connection is; without it that would be the login's own default.
  if (!/^\/[^/]+$/.test(parsed.pathname)) return false
  return [...parsed.searchParams].every(
    ([name, value]) => mssqlParameters.includes(name) && ['true', 'false'].includes(value),
  )
}

function isMssql(url: string): boolean {
  return /^(mssql|sqlserver):\/\//.test(url)
}

/** What else the URL of a file must be is told when it is opened. */
function isFile(url: string): boolean {
  return url.startsWith('file:')
}

/** The kinds of databases. Those of one kind take the same tables and the same Drizzle driver. */
export type DatabaseKind = 'postgres' | 'mysql' | 'mssql' | 'sqlite' | 'pglite'

/** The kind of the database that a URL of the configuration leads to. */
export function databaseKind(url: string): DatabaseKind {
  if (isMysql(url)) return 'mysql'
  if (isMssql(url)) return 'mssql'
  if (isFile(url)) return 'sqlite'
  return url.startsWith('pglite:') ? 'pglite' : 'postgres'
}

function isEmbeddedUrl(url: string): boolean {
  if (!url.startsWith('pglite:') || url.includes('//') || url.includes('\0')) return false
  return withoutTrailingSlashes(url) !== 'pglite:'
}

/** A trailing slash means nothing, in a URL or a path. */
export function withoutTrailingSlashes(value: string): string {
  return value.replace(/\/+$/, '')
}
