import { inspect } from 'node:util'
import { describe, expect, test } from 'vitest'
import { parseConfig, type TenancyConfig } from '../src/config.ts'
import { isTenancyError } from '../src/errors.ts'

const MAIN = 'postgres://app@db/saas'
const PASSWORD = 'hunter2'
const EU = `postgres://app:${PASSWORD}@eu/saas`
const US = `postgres://app:${PASSWORD}@us/saas`

function parse(options: object, environment: Record<string, string> = {}): TenancyConfig {
  return parseConfig({ databaseUrl: MAIN, ...options }, environment)
}

function refusal(options: object, environment: Record<string, string> = {}): string[] {
  try {
    parse(options, environment)
  } catch (error) {
    if (!isTenancyError(error, 'TENANCY_ERR_CONFIG_INVALID')) throw error
    expect(inspect(error, { depth: null, showHidden: true })).not.toContain(PASSWORD)
    return error.message.split('\n').slice(1)
  }
  throw new Error('nothing was refused')
}

/** What a configuration says of its servers, revealed. */
function revealed({ servers }: TenancyConfig): unknown {
  return Object.fromEntries(
    Object.entries(servers).map(([name, { databaseUrl, adminDatabaseUrl, pooler }]) => [
      name,
      [databaseUrl.reveal(), adminDatabaseUrl.reveal(), pooler],
    ]),
  )
}

describe('the option servers', () => {
  test('is empty unless given, and its entries are complete and frozen', () => {
    expect(parse({}).servers).toEqual({})
    expect(parse({}, { TENANCY_SERVERS: ' ' }).servers).toEqual({})
    const config = parse({
      pooler: 'transaction',
      servers: {
        eu: { databaseUrl: `${EU}/` },
        'us-1': { databaseUrl: US, adminDatabaseUrl: 'postgres://owner@us/saas', pooler: 'none' },
        as_2: { databaseUrl: 'postgres://app@as/saas', adminDatabaseUrl: undefined, pooler: undefined },
      },
    })
    expect(revealed(config)).toEqual({
      eu: [EU, EU, 'transaction'],
      'us-1': [US, 'postgres://owner@us/saas', 'none'],
      as_2: ['postgres://app@as/saas', 'postgres://app@as/saas', 'transaction'],
    })
    for (const part of [config.servers, ...Object.values(config.servers)]) expect(Object.isFrozen(part)).toBe(true)
  })

  test('comes from the environment as JSON, and from code before it', () => {
    const environment = { TENANCY_SERVERS: `{ "eu": { "databaseUrl": "${EU}", "pooler": "transaction" } }` }
    expect(revealed(parse({}, environment))).toEqual({ eu: [EU, EU, 'transaction'] })
    expect(revealed(parse({ servers: { us: { databaseUrl: US } } }, environment))).toEqual({ us: [US, US, 'none'] })
  })

  test('[W47] prints no secret', () => {
    const config = parse({ servers: { eu: { databaseUrl: EU, adminDatabaseUrl: EU } } })
    const print = [
      inspect(config, { depth: null, showHidden: true, customInspect: false }),
      inspect(config, { depth: null }),
      JSON.stringify(config),
      JSON.stringify({ ...config.servers }),
      // oxlint-disable-next-line typescript/restrict-template-expressions -- the mistake under test
      `${config.servers['eu']?.databaseUrl}`,
    ].join('\n')
    expect(print).not.toContain(PASSWORD)
    expect(JSON.parse(JSON.stringify(config.servers))).toEqual({
      eu: { databaseUrl: '[redacted]', adminDatabaseUrl: '[redacted]', pooler: 'none' },
    })
  })

  test('[W47] tells every problem at once, by name and key, and shows nothing that was received', () => {
    const servers = {
      Eu: { databaseUrl: EU },
      main: { databaseUrl: EU },
      [EU]: 'eu',
      text: EU,
      list: [EU],
      empty: {},
      nothing: null,
      wrong: { databaseUrl: `oracle://app:${PASSWORD}@eu/saas`, adminDatabaseUrl: 7, pooler: PASSWORD },
      misspelt: { databaseUrl: US, databaseURL: US, adminUrl: US, colour: PASSWORD, [US]: 1 },
    }
    const lead = '- servers (TENANCY_SERVERS): '
    const names = 'Use a-z, 0-9, - and _, at first a letter, at most 63, not `main`: that is databaseUrl.'
    const form = 'Use `{ <name>: { databaseUrl, adminDatabaseUrl?, pooler? } }`.'
    const expected = [
      `${lead}got the name "Eu". ${names}`,
      `${lead}got the name "main". ${names}`,
      `${lead}got the name (not shown). ${names}`,
      `${lead}"text" got a value of type string (not shown). ${form}`,
      `${lead}"list" got a list (not shown). ${form}`,
      expect.stringContaining(`${lead}"empty".databaseUrl is missing. Use \`postgres://…\``),
      `${lead}"nothing" got null (not shown). ${form}`,
      expect.stringContaining(
        `${lead}"wrong".databaseUrl got a value of type string (not shown): it begins like none of these. Use \`postgres://…\``,
      ),
      expect.stringContaining(
        `${lead}"wrong".adminDatabaseUrl got a value of type number (not shown). Use \`postgres:`,
      ),
      `${lead}"wrong".pooler got a value of type string (not shown). Use \`none\`, \`transaction\`.`,
      `${lead}"misspelt"."databaseURL" is unknown. Did you mean databaseUrl?`,
      `${lead}"misspelt"."adminUrl" is unknown. Remove it.`,
      `${lead}"misspelt"."colour" is unknown. Remove it.`,
      `${lead}"misspelt".(not shown) is unknown. Remove it.`,
    ]
    expect(refusal({ servers })).toEqual(expected)
    expect(refusal({}, { TENANCY_SERVERS: JSON.stringify(servers) })).toEqual(expected)
    expect(refusal({}, { TENANCY_SERVERS: `{"eu":{"databaseUrl":"${EU}"}` })).toEqual([
      `${lead}got text that is no JSON object (not shown). ${form}`,
    ])
  })

  test('is of one kind', () => {
    const servers = {
      lake: { databaseUrl: 'file:./eu.db' },
      other: { databaseUrl: `mysql://app:${PASSWORD}@eu/saas` },
      own: { databaseUrl: 'pglite:./data' },
      mixed: { databaseUrl: EU, adminDatabaseUrl: `mysql://app:${PASSWORD}@eu/saas` },
      fine: { databaseUrl: US, adminDatabaseUrl: `postgresql://owner@us/saas` },
    }
    const kind =
      'databaseUrl leads to another kind of database than `main`. Your tables are of one kind: use it for all.'
    expect(refusal({ servers })).toEqual([
      `- servers (TENANCY_SERVERS): "lake".${kind}`,
      `- servers (TENANCY_SERVERS): "other".${kind}`,
      `- servers (TENANCY_SERVERS): "own".${kind}`,
      '- servers (TENANCY_SERVERS): "mixed".adminDatabaseUrl leads to another kind of database than its databaseUrl. Use one database, two roles.',
    ])
    const admin = { eu: { databaseUrl: 'pglite:./eu', adminDatabaseUrl: US } }
    expect(refusal({ databaseUrl: 'pglite:memory', servers: admin })).toEqual([
      expect.stringContaining('"eu".adminDatabaseUrl given, but its databaseUrl is `pglite:`'),
    ])
  })

  test.each([
    [MAIN, 'postgres://other:pw@db/saas', 'postgresql://db:5432/saas?sslmode=require', 'postgres://DB/saas/'],
    ['postgres://a@/saas?host=/run/pg', 'postgres://b@/saas?host=/run/pg'],
    ['mysql://a@db/saas', 'mariadb://b@db:3306/saas'],
    ['file:./app.db', 'file:app.db.registry', 'file:app.db.tenants/eu.db', 'file:./x/../app.db-wal'],
    ['file:./app.db.registry', 'file:app.db'],
    ['file:./app.db', 'file:app.db', `file://${process.cwd()}/app.db`, `file:${process.cwd()}/x/../app.db`],
    ['pglite:./data', 'pglite:./data/'],
  ])('does not give the database %s two names', (databaseUrl, ...twins) => {
    const options = { databaseUrl, tenantStore: {} }
    for (const twin of twins) {
      const message = '"eu".databaseUrl leads to the same database as "main". Give each database one name.'
      expect(refusal({ ...options, servers: { eu: { databaseUrl: twin } } })).toEqual([
        `- servers (TENANCY_SERVERS): ${message}`,
      ])
    }
    expect(() =>
      refusal({ ...options, servers: { eu: { databaseUrl: databaseUrl.replace(/[a-z](\?|$)/, 'z$1') } } }),
    ).toThrow('nothing was refused')
  })

  test('gives no database of two entries two names, but each embedded one in memory is its own', () => {
    expect(refusal({ servers: { eu: { databaseUrl: EU }, us: { databaseUrl: EU } } })).toEqual([
      '- servers (TENANCY_SERVERS): "us".databaseUrl leads to the same database as "eu". Give each database one name.',
    ])
    const memory = { databaseUrl: 'pglite:memory' }
    expect(Object.keys(parse({ ...memory, servers: { eu: memory, us: memory } }).servers)).toEqual(['eu', 'us'])
  })

  test('is no reason to embed a database for main', () => {
    const options = { databaseUrl: undefined, servers: { eu: { databaseUrl: 'pglite:memory' } } }
    expect(refusal(options, { NODE_ENV: 'test' })).toEqual([
      expect.stringContaining('databaseUrl (TENANCY_DATABASE_URL): missing'),
    ])
  })

  test('is what chooseServer chooses from', () => {
    const chooseServer = () => 'eu'
    expect(refusal({ chooseServer })).toEqual([
      expect.stringContaining('- chooseServer: got a function that could choose `main` only.'),
    ])
    expect(parse({ chooseServer, servers: { eu: { databaseUrl: EU } } }).chooseServer).toBe(chooseServer)
  })
})
