import type { MssqlAddress } from './mssql-types.ts'

/**
 * Reads `mssql://user:password@host:1433/database?encrypt=true&trustServerCertificate=false`. mssql is never given the URL:
 * it would take any option from it. Encrypted unless told otherwise.
 */
export function parseMssqlUrl(url: string): MssqlAddress {
  const { hostname, port, username, password, pathname, searchParams } = new URL(url)
  return Object.freeze({
    server: hostname.replace(/^\[|\]$/g, ''),
    port: port === '' ? 1433 : Number(port),
    user: decodeURIComponent(username),
    password: decodeURIComponent(password),
    database: decodeURIComponent(pathname.slice(1)),
    encrypt: searchParams.get('encrypt') !== 'false',
    trustServerCertificate: searchParams.get('trustServerCertificate') === 'true',
  })
}
