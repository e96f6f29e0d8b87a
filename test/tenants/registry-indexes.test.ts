import { randomBytes } from 'node:crypto'
import { drizzle } from 'drizzle-orm/node-postgres'
import { Pool } from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { AdminConnection, DatabaseServer } from '../../src/contracts/dialect.ts'
import type { TenantStore } from '../../src/contracts/store.ts'
import { createDrizzlePostgresTenantStore } from '../../src/tenants/drizzle-postgres-store.ts'
import { createLockingTenantStore } from '../../src/tenants/locking-store.ts'
import { mysqlRegistry } from '../../src/tenants/mysql-registry.ts'
import { sqliteRegistry } from '../../src/tenants/sqlite-registry.ts'
import { pgAdmin } from '../conformance/registry-store-fixtures.ts'
import { positionAfter } from '../conformance/store.ts'
import { createTestDatabase, type TestDatabase } from '../servers/database.ts'
import { describeWith } from '../servers/suite.ts'
import { asSuperuser } from '../support/database.ts'
import { asRoot, type MysqlDatabase, mysqlDatabase, mysqlServer } from '../support/mysql.ts'
import { openSqlite, type SqliteServer } from '../support/sqlite.ts'

const ROWS = 20_000

/** The last statement of a store, as it was sent. */
interface Sent {
  text: string
  values: readonly unknown[]
}

/** What a store does again and again, each with the index it must use. */
const reads: readonly [what: string, index: RegExp, read: (store: TenantStore) => Promise<unknown>][] = [
  ['an identifier', /identifier/, (store) => store.getByIdentifier('tenant-777')],
  ['a page', /tenants_newest_idx/, (store) => store.list({ limit: 50 })],
  ['a page of a status', /tenants_status_newest_idx/, (store) => store.list({ limit: 50, status: 'suspended' })],
  ['a later page', /tenants_newest_idx/, async (store) => store.list({ limit: 50, after: await middle(store) })],
  [
    'a later page of a status',
    /tenants_status_newest_idx/,
    async (store) => store.list({ limit: 50, status: 'suspended', after: await middle(store) }),
  ],
]

async function middle(store: TenantStore): Promise<string> {
  let after = (await store.list({ limit: 1000 })).next as string
  for (let page = 0; page < 9; page++) after = (await store.list({ limit: 1000, after })).next as string
  return after
}

describeWith(['postgres18'], '[W63] the registry on PostgreSQL', ({ postgres18 }) => {
  let database: TestDatabase
  let pool: Pool
  let sent: Sent
  const open = () =>
    createDrizzlePostgresTenantStore({
      admin: pgAdmin(pool),
      drizzle: (client) => {
        const logger = { logQuery: (text: string, values: unknown[]) => (sent = { text, values }) }
        return drizzle({ client: client as Pool, logger: logger as never })
      },
    })
  beforeAll(async () => {
    database = await createTestDatabase(postgres18.url)
    pool = new Pool({ connectionString: database.adminUrl, max: 2 })
    const store = open()
    await store.initialize()
    await pool.query(`insert into tenancy.tenants
        (id, identifier, name, name_folded, status, strategy, server, namespace, row_key, row_key_canonical, created_at)
      select id, 'tenant-' || n, 'Tenant No. ' || n, 'tenant no. ' || n, case when n % 100 = 0 then 'suspended' else 'active' end,
        'schema', 'main', 't' || n, id::text, id::text, now() - n * interval '1 minute'
      from (select n, gen_random_uuid() as id from generate_series(1, ${ROWS}) n) x`)
    await pool.query('vacuum analyze tenancy.tenants')
  })
  afterAll(async () => {
    await pool?.end()
    await database?.drop()
  })

  /** The plan of what `read` sent last. */
  async function planOf(read: (store: TenantStore) => Promise<unknown>): Promise<string> {
    await read(open())
    const { rows } = await pool.query<{ 'QUERY PLAN': string }>(`explain ${sent.text}`, [...sent.values])
    return rows.map((row) => row['QUERY PLAN']).join('\n')
  }

  it.each(reads)('finds %s by its index', async (_what, index, read) => {
    const plan = await planOf(read)
    expect(plan).toMatch(index)
    expect(plan).not.toMatch(/Seq Scan|Sort/)
  })

  it('finds what changed by its index', async () => {
    expect(await planOf(async (store) => store.changes?.(await positionAfter(0, store)))).toContain(
      'tenants_change_idx',
    )
  })

  it('finds many ids by the primary key', async () => {
    expect(await planOf((store) => store.getByIds(['00000000-0000-4000-8000-000000000001']))).toContain('tenants_pkey')
  })

  it('finds a part of a name by an index once somebody has installed pg_trgm, wherever that is', async () => {
    const search = (store: TenantStore) => store.list({ search: 'no. 12345' })
    expect(await planOf(search)).not.toContain('tenants_search_idx')
    const before = await open().list({ search: 'NO. 12345' })
    expect(before.tenants).toHaveLength(1)
    await asSuperuser(database, async (client) => {
      await client.query('create schema "odd ""schema"; create extension pg_trgm schema "odd ""schema"')
    })
    await open().initialize()
    await pool.query('analyze tenancy.tenants')
    // Without a right on that schema there is no index, and no failure.
    expect(await planOf(search)).not.toContain('tenants_search_idx')
    await asSuperuser(database, (client) =>
      client.query(`grant usage on schema "odd ""schema" to ${database.ownerRole}`),
    )
    await Promise.all([open().initialize(), open().initialize()])
    await pool.query('analyze tenancy.tenants')
    expect(await planOf(search)).toContain('tenants_search_idx')
    expect(await planOf((store) => store.list({ search: 'tenant-12345' }))).toContain('tenants_search_idx')
    expect(await open().list({ search: 'NO. 12345' })).toEqual(before)
    expect((await open().list({ search: '%' })).tenants).toEqual([])
    await open().initialize()
  })
})

describeWith(['mariadb'], '[W63] the registry on MariaDB', ({ mariadb }) => {
  let database: MysqlDatabase
  let server: DatabaseServer
  const name = `tenancy_${randomBytes(5).toString('hex')}`
  beforeAll(async () => {
    database = await mysqlDatabase(mariadb.url)
    server = mysqlServer(database)
    await server.open()
    await createLockingTenantStore(server.admin, mysqlRegistry(name)).initialize()
    await asRoot(database.superUrl, [
      `insert into ${name}.tenants (id, identifier, name, status, strategy, server, namespace, row_key, row_key_canonical, metadata, version,
          created_at, updated_at, name_folded)
        select id, concat('tenant-', seq), concat('Tenant No. ', seq), if(seq % 100 = 0, 'suspended', 'active'), 'schema', 'main',
          concat('t', seq), id, id, '{}', 1,
          date_format(date_add('2026-01-01', interval seq minute), '%Y-%m-%dT%H:%i:%s.000Z'), '2026-01-01T00:00:00.000Z',
          concat('tenant no. ', seq)
        from (select seq, uuid() as id from ${name}.seq_1_to_${ROWS}) x`,
      `analyze table ${name}.tenants`,
    ])
  })
  afterAll(async () => {
    await server?.close()
    await asRoot(database.superUrl, [`drop database if exists ${name}`])
    await database.drop()
  })

  it.each(reads)('finds %s by its index', async (_what, index, read) => {
    const { connection, sent } = recorded(server.admin)
    await read(createLockingTenantStore(connection, mysqlRegistry(name)))
    const [plan] = await server.admin.query<{ key: string; type: string; rows: number; Extra: string }>(
      `explain ${sent.text}`,
      sent.values,
    )
    expect(plan?.key).toMatch(index)
    expect(plan?.Extra ?? '').not.toMatch(/filesort/)
    expect(sent.values.length > 1 ? plan?.type : 'range').toMatch(/range|ref/)
  })

  it('has no two indexes that begin with the same columns', async () => {
    const rows = await server.admin.query<{ columns: string }>(
      `select group_concat(column_name order by seq_in_index) as columns from information_schema.statistics
        where table_schema = ? and table_name = 'tenants' group by index_name`,
      [name],
    )
    expect(rows.map(({ columns }) => columns).sort()).toEqual([
      'change_number,id',
      'created_at,id',
      'id',
      'identifier',
      'namespace',
      'row_key_canonical',
      'status,created_at,id',
    ])
  })
})

describe('[W63] the registry on SQLite', () => {
  let file: SqliteServer
  beforeAll(async () => {
    file = await openSqlite()
    await createLockingTenantStore(file.server.admin, sqliteRegistry).initialize()
    await file.server.admin.query(`insert into tenants (id, identifier, name, status, strategy, server, namespace, row_key, row_key_canonical, metadata, version,
          created_at, updated_at, name_folded)
      with recursive numbers(n) as (select 1 union all select n + 1 from numbers where n < ${ROWS})
      select printf('00000000-0000-4000-8000-%012d', n), 'tenant-' || n, 'Tenant No. ' || n,
        iif(n % 100 = 0, 'suspended', 'active'), 'schema', 'main', 't' || n, n, n, '{}', 1,
        strftime('%Y-%m-%dT%H:%M:%fZ', '2026-01-01', n || ' minutes'), '2026-01-01T00:00:00.000Z', 'tenant no. ' || n
      from numbers`)
  })
  afterAll(() => file?.close())

  it.each(reads)('finds %s by its index', async (what, index, read) => {
    const { connection, sent } = recorded(file.server.admin)
    await read(createLockingTenantStore(connection, sqliteRegistry))
    const rows = await file.server.admin.query<{ detail: string }>(`explain query plan ${sent.text}`, sent.values)
    const plan = rows.map(({ detail }) => detail).join('\n')
    if (what !== 'an identifier') expect(plan).toMatch(index)
    expect(plan).toMatch(sent.values.length > 0 ? /^SEARCH/ : /^SCAN/)
    if (what.includes('later')) expect(plan).toMatch(/^SEARCH.*created_at</)
    expect(plan).not.toMatch(/TEMP B-TREE/)
  })
})

/** The connection, and what was sent on it last. */
function recorded(admin: AdminConnection): { connection: AdminConnection; sent: Sent } {
  const sent: Sent = { text: '', values: [] }
  const query = <TRow>(text: string, values: readonly unknown[] = []) => {
    Object.assign(sent, { text, values })
    return admin.query<TRow>(text, values)
  }
  return { connection: { ...admin, query }, sent }
}
