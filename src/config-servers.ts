import { resolve } from 'node:path'
import type { z } from 'zod'
import { type serverSchema, serverRanges } from './config-schema.ts'
import { databaseKind } from './database-url.ts'
import { faultBehind } from './server-url.ts'
import { MAIN_SERVER } from './contracts/tenant.ts'
import { closest } from './util/env.ts'
import { quoteReceived } from './util/identifier.ts'
import { parseUrl, type Secret } from './util/secret.ts'

/** One checked entry of the option `servers`. */
export type ServerEntry = z.output<typeof serverSchema>

/** Where a server is, and its name. */
type Place = readonly [place: string, name: string]

/** What belongs to a SQLite file: the registry, the folder of tenants, and SQLite's own files. */
const BESIDE_FILE = /^(\.registry|\.tenants\/.*|-wal|-shm|-journal)?$/

const KEYS = Object.keys(serverRanges)
const FORM = '`{ <name>: { databaseUrl, adminDatabaseUrl?, pooler? } }`'
const NAMES = 'Use a-z, 0-9, - and _, at first a letter, at most 63, not `main`: that is databaseUrl.'

/** A sentence for every part of `servers` that the schema refused. What was received is not shown: it holds passwords. */
export function refusedServers(given: unknown, issues: readonly z.core.$ZodIssue[]): string[] {
  return issues.flatMap(({ path, ...issue }) => {
    const [name, key] = path.map(String)
    if (name === undefined) {
      return [
        `got ${typeof given === 'string' ? 'text that is no JSON object' : typeOf(given)} (not shown). Use ${FORM}.`,
      ]
    }
    if (issue.code === 'invalid_key') return [`got the name ${shownName(name)}. ${NAMES}`]
    if (issue.code === 'unrecognized_keys')
      return issue.keys.map((unknown) => `${at(name, unknown)} is unknown. ${advice(unknown)}`)
    const value = path.reduce<unknown>((from, part) => Reflect.get(Object(from), part), given)
    if (key === undefined) return [`${at(name)} got ${typeOf(value)} (not shown). Use ${FORM}.`]
    const received = value === undefined ? 'is missing' : `got ${typeOf(value)} (not shown)`
    const fault = key === 'pooler' ? '' : faultBehind(value)
    return [`${at(name, key)} ${received}${fault}. Use ${serverRanges[key as keyof typeof serverRanges]}.`]
  })
}

/** What is wrong with an admin URL beside the URL `beside`, called `name`. */
export function adminUrlProblem(adminUrl: Secret | undefined, beside: Secret, name: string): string | undefined {
  if (adminUrl === undefined) return undefined
  const kind = databaseKind(beside.reveal())
  if (kind === 'pglite')
    return `given, but ${name} is \`pglite:\`, which has one connection for everything. Remove one.`
  if (kind === 'sqlite') return `given, but ${name} is a file, which has no roles. Remove one.`
  if (databaseKind(adminUrl.reveal()) === kind) return undefined
  return `leads to another kind of database than ${name}. Use one database, two roles.`
}

/** A sentence for every server that cannot stand beside `main` or before the other servers. */
export function serverProblems(main: Secret, servers: Readonly<Record<string, ServerEntry>>): string[] {
  const kind = databaseKind(main.reveal())
  const places: Place[] = [[placeOf(main.reveal()), MAIN_SERVER]]
  return Object.entries(servers).flatMap(([name, { databaseUrl, adminDatabaseUrl }]) => {
    const admin = adminUrlProblem(adminDatabaseUrl, databaseUrl, 'its databaseUrl')
    const problems = admin === undefined ? [] : [`${at(name, 'adminDatabaseUrl')} ${admin}`]
    const url = databaseUrl.reveal()
    if (databaseKind(url) !== kind) {
      return [
        ...problems,
        `${at(name, 'databaseUrl')} leads to another kind of database than \`main\`. Your tables are of one kind: use it for all.`,
      ]
    }
    const place = placeOf(url)
    const twin = places.find(([other]) => overlap(place, other) || overlap(other, place))
    if (twin !== undefined && url !== 'pglite:memory') {
      return [
        ...problems,
        `${at(name, 'databaseUrl')} leads to the same database as "${twin[1]}". Give each database one name.`,
      ]
    }
    places.push([place, name])
    return problems
  })
}

function at(name: string, key?: string): string {
  return key === undefined ? `"${name}"` : `"${name}".${KEYS.includes(key) ? key : shownName(key)}`
}

/** A URL in the wrong place may hold a password. */
function shownName(name: string): string {
  return /[:/@]/.test(name) ? '(not shown)' : quoteReceived(name)
}

function advice(key: string): string {
  const meant = closest(key, KEYS)
  return meant === undefined ? 'Remove it.' : `Did you mean ${meant}?`
}

function typeOf(value: unknown): string {
  if (value === null) return 'null'
  return Array.isArray(value) ? 'a list' : `a value of type ${typeof value}`
}

/** Whether `place` is `other` or one of the files that it has. */
function overlap(place: string, other: string): boolean {
  return place.startsWith(other) && BESIDE_FILE.test(place.slice(other.length))
}

/** Where a URL leads, whoever connects: host, port and database, or a file. Two host names may still be one machine. */
function placeOf(url: string): string {
  if (databaseKind(url) === 'sqlite') return resolve(url.replace(/^file:(\/\/(localhost)?(?=\/))?/, ''))
  const parsed = parseUrl(url)
  if (parsed === undefined) return url
  const kind = databaseKind(url)
  const port = parsed.port || { postgres: '5432', mysql: '3306', mssql: '1433' }[kind as 'postgres' | 'mysql' | 'mssql']
  const socket = parsed.searchParams.get('host') ?? parsed.searchParams.get('socketPath')
  return JSON.stringify([kind, socket ?? parsed.hostname.toLowerCase(), port, parsed.pathname])
}
