import { parseUrl } from './util/secret.ts'

/** Options of the driver, such as several statements at once, do not come from a URL. */
const mysqlParameters = ['ssl', 'socketPath']
const mssqlParameters = ['encrypt', 'trustServerCertificate']

/** How SQL Server is addressed elsewhere: ADO.NET, JDBC and ODBC. */
const CONNECTION_STRING = /^jdbc:|(^|;)\s*(server|data source|driver)\s*=/i

/** What the parts of a URL may be on one kind of server. */
interface UrlRules {
  readonly scheme: RegExp
  /** The first thing that is wrong with a URL of this scheme. Parts of it are never in the text: any may hold a piece of a password. */
  fault(url: string): string | undefined
}

const kinds: readonly UrlRules[] = [
  {
    scheme: /^postgres(ql)?:\/\//,
    fault(url) {
      // `pg` takes a % that begins no escape for itself.
      if (badEscape((url.split('?', 1)[0] ?? '').replace(/%(?![\da-f]{2})/gi, '%25'))) return BAD_ESCAPE
      const parsed = parseUrl(url)
      if (parsed === undefined) return UNREADABLE
      return hashOrHosts(parsed) ?? (parsed.hostname || parsed.searchParams.get('host') ? undefined : NO_HOST)
    },
  },
  {
    scheme: /^(mysql|mariadb):\/\//,
    fault(url) {
      if (badEscape(url)) return BAD_ESCAPE
      const parsed = parseUrl(url)
      if (parsed === undefined) return UNREADABLE
      const wrong = hashOrHosts(parsed) ?? (hasHost(url, parsed) ? otherParameter(parsed, mysqlParameters) : NO_HOST)
      return wrong ?? (isSsl(parsed.searchParams.get('ssl')) ? undefined : 'its `ssl` begins like JSON and is none')
    },
  },
  { scheme: /^(mssql|sqlserver):\/\//, fault: mssqlFault },
]

const BAD_ESCAPE = 'a % in it is no escape of a character: write % itself as %25'
const UNREADABLE = 'its parts cannot be told apart'
const NO_HOST = 'it names no host'

/** Whether a URL leads to a server, with accounts. A part that may be a piece of its password is refused: it would be sent to a host nobody meant. */
export function isServerUrl(url: string): boolean {
  const kind = kinds.find(({ scheme }) => scheme.test(url))
  return kind !== undefined && kind.fault(url) === undefined
}

/** What is no server. */
const EMBEDDED = /^(?:file|pglite):/

/** What is wrong with a URL that was refused, to stand behind what was received; empty where its forms say all there is to say. */
export function faultBehind(given: unknown): string {
  if (typeof given !== 'string') return ''
  const fault = faultOf(given)
  return fault === undefined ? '' : `: ${fault}`
}

function faultOf(given: string): string | undefined {
  if (CONNECTION_STRING.test(given)) {
    return 'it is a connection string: write `mssql://user:password@host:1433/database`'
  }
  const kind = kinds.find(({ scheme }) => scheme.test(given))
  if (kind !== undefined) return kind.fault(given)
  return EMBEDDED.test(given) ? undefined : 'it begins like none of these'
}

function mssqlFault(url: string): string | undefined {
  if (badEscape(url)) return BAD_ESCAPE
  const authority = /^\w+:\/\/(?:[^/?#]*@)?([^/?#]*)/.exec(url)?.[1] ?? ''
  if (authority.includes(';')) return 'it has a `;`: write `mssql://user:password@host:1433/database`'
  if (authority.includes('\\')) return 'its host has a `\\`: give a named instance by its port, `host:1433`'
  if (authority.includes(',')) return 'its host has a `,`: a port comes behind `:`'
  const parsed = parseUrl(url)
  if (parsed === undefined) return UNREADABLE
  const { pathname, searchParams } = parsed
  const wrong = hashOrHosts(parsed) ?? (hasHost(url, parsed) ? undefined : NO_HOST)
  if (wrong !== undefined) return wrong
  // The database is where every connection is; without it that would be the login's own default.
  if (pathname === '' || pathname === '/') return 'it names no database: `mssql://…/database`'
  if (!/^\/[^/]+$/.test(pathname)) return 'there is more than the name of a database behind its host'
  const unset = mssqlParameters.find((name) =>
    searchParams.getAll(name).some((value) => value !== 'true' && value !== 'false'),
  )
  return unset === undefined ? otherParameter(parsed, mssqlParameters) : `its \`${unset}\` is neither true nor false`
}

function badEscape(url: string): boolean {
  try {
    decodeURIComponent(url)
    return false
  } catch {
    return true
  }
}

/** `…@/database` has a host for `pg` alone, which finds a socket. */
function hasHost(url: string, { hostname }: URL): boolean {
  return hostname !== '' && URL.canParse(url)
}

/** An error of JSON shows a piece of the text. */
function isSsl(text: string | null): boolean {
  if (text?.startsWith('{') !== true) return true
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

function hashOrHosts({ hash, hostname }: URL): string | undefined {
  if (hash !== '') return 'it has a `#`, which is %23 in a password'
  return hostname.includes(',') ? 'it names several hosts' : undefined
}

function otherParameter({ searchParams }: URL, known: readonly string[]): string | undefined {
  if ([...searchParams.keys()].every((name) => known.includes(name))) return undefined
  return `it has a parameter other than ${known.map((name) => `\`${name}\``).join(' and ')}`
}
