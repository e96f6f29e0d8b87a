import { isServerUrl } from './server-url.ts'

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

function isMysql(url: string): boolean {
  return /^(mysql|mariadb):\/\//.test(url)
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
