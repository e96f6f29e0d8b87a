import type { AdminConnection } from '../contracts/dialect.ts'
import type { ListOptions, TenantPage, TenantStore } from '../contracts/store.ts'
import { type NewTenant, sourcesOf, type Tenant, type TenantPatch, type TenantStatus } from '../contracts/tenant.ts'
import { tenancyError } from '../errors.ts'
import { deepFreeze } from '../util/deep-freeze.ts'
import { foldText } from '../util/fold-text.ts'
import { isPartOfIdentifier, parseIdentifier } from '../util/identifier.ts'
import { withRetries } from '../util/retry.ts'
import { canonicalRowKey } from '../util/row-key.ts'
import { readChanges } from './change-position.ts'
import { hotTenants, type HotRow } from './hot-tenants.ts'
import { encodeCursor, type PageQuery, readPage } from './page-cursor.ts'
import { isRetryable, storeError } from './store-errors.ts'
import type { StoreLimits } from './store-limits.ts'
import {
  type CheckedPatch,
  checkNewTenant,
  checkPatch,
  chunksOfIds,
  inOrderOf,
  isTenantId,
  merged,
} from './tenant-input.ts'

/** What databases have no common words for. Parameters are written `?`. */
export interface RegistrySql {
  /** The column `metadata` as text: drivers differ in what they make of JSON. */
  readonly metadata: string
  /** Behind an ORDER BY: only so many rows. */
  first(rows: number): string
  /** Whether a column has the text of a parameter in it. */
  contains(column: string): string
  /** A statement as it is sent. */
  statement(text: string): string
  /**
   * A statement that reads many rows, as they are at one moment. Databases do that by themselves, unless a statement sees of
   * each row what is committed when it gets there.
   */
  atOneMoment(text: string): string
}

/** The words of most. */
export const commonSql: RegistrySql = Object.freeze({
  metadata: 'cast(metadata as char)',
  first: (rows: number) => `limit ${rows}`,
  contains: (column: string) => `instr(${column}, ?) > 0`,
  statement: (text: string) => text,
  atOneMoment: (text: string) => text,
})

/** What a registry on one kind of database needs to know of it. */
export interface RegistryTable extends RegistrySql {
  /** The table of tenants, quoted and qualified. */
  readonly name: string
  /** The table of one row that counts the changes, quoted and qualified. */
  readonly counter: string
  /** The incarnation of the registry, read from the row of the counter. Text without spaces, at most 200 characters. */
  readonly incarnation: string
  /** The table of identifiers that a rename gave up, quoted and qualified. */
  readonly released: string
  /** The table of one row with the ids of the tenants that are used, quoted and qualified. */
  readonly hot: string
  /** What follows FROM where a tenant is read by its id to be changed: locked until the transaction ends, also for SQL by hand. */
  readonly locked: string
  /** The moment, in UTC, as `2026-01-31T12:00:00.000Z`. */
  readonly now: string
  /** Makes or upgrades the table. Idempotent, safe when several processes start at once. */
  initialize(connection: AdminConnection): Promise<void>
}

type Query = AdminConnection['query']

/** A row of the table; numbers may come as text. */
interface Row {
  readonly [column: string]: unknown
}

const COLUMNS =
  'id, identifier, name, status, strategy, server, namespace, row_key, metadata, version, created_at, updated_at'

/**
 * The registry on a database that cannot change a row and tell what it is now in one statement: each write takes the number
 * of its change first, in a transaction of its own, and has the tenants to itself until that ends.
 * @param connection stays its maker's: `close` does not close it
 */
export function createLockingTenantStore(
  connection: AdminConnection,
  table: RegistryTable,
  limits: StoreLimits = {},
): TenantStore {
  const { maxTenants } = limits
  const READ = COLUMNS.replace('metadata', `${table.metadata} as metadata`)
  /** All statements but those of `initialize` go this way. */
  const written =
    (query: Query): Query =>
    (text, parameters) =>
      query(table.statement(text), parameters)
  const read = written(connection.query)
  const readAll = <TRow>(text: string, parameters?: readonly unknown[]) =>
    read<TRow>(table.atOneMoment(text), parameters)

  async function run<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await withRetries(work, isRetryable)
    } catch (error) {
      throw storeError(error, limits)
    }
  }

  const select = async (query: Query, from: string, value: string): Promise<Tenant | undefined> => {
    const [row] = await query<Row>(`select ${READ} from ${from}`, [value])
    return row === undefined ? undefined : toTenant(row)
  }
  const byId = `${table.name} where id = ?`
  const byIdentifier = `${table.name} where identifier = ?`

  /**
   * A transaction that begins with the next number and keeps it until the commit. So numbers are visible in their order and
   * none is missed; and writers, who hold nothing before, have the tenants one after the other and never wait for each other.
   */
  const alone = <T>(work: (query: Query) => Promise<T>): Promise<T> =>
    run(() =>
      connection.transaction(async (bare) => {
        const query = written(bare)
        await query(`update ${table.counter} set last = last + 1`)
        return work(query)
      }),
    )
  const taken = `(select last from ${table.counter})`

  /** Runs `change` on a tenant and gives what it is afterwards. */
  async function write(id: string, change: (query: Query, tenant: Tenant) => Promise<void>): Promise<Tenant> {
    if (!isTenantId(id)) throw tenancyError('TENANCY_ERR_TENANT_NOT_FOUND')
    return alone(async (query) => {
      await change(query, required(await select(query, table.locked, id)))
      return required(await select(query, byId, id))
    })
  }

  const getById = async (id: string): Promise<Tenant | undefined> =>
    isTenantId(id) ? run(() => select(read, byId, id)) : undefined

  async function getByIds(ids: readonly string[]): Promise<readonly Tenant[]> {
    const found: Tenant[] = []
    for (const chunk of chunksOfIds(ids)) {
      const text = `select ${READ} from ${table.name} where id in (${chunk.map(() => '?').join(', ')})`
      const rows = await run(() => read<Row>(text, chunk))
      found.push(...inOrderOf(chunk, rows.map(toTenant)))
    }
    return found
  }

  const set = async (query: Query, { id }: Tenant, values: Readonly<Record<string, string>>) => {
    const columns = Object.keys(values).map((column) => `${column} = ?, `)
    const text = `update ${table.name} set ${columns.join('')}version = version + 1, updated_at = ${table.now},
      change_number = ${taken} where id = ?`
    await query(text, [...Object.values(values), id])
  }

  async function insert(input: NewTenant): Promise<Tenant> {
    const { id, identifier, name, status, placement, metadata } = checkNewTenant(input)
    const { strategy, server, namespace, rowKey } = placement
    const values = [id, identifier, name, status, strategy, server, namespace, rowKey, JSON.stringify(metadata)]
    const text = `insert into ${table.name} (${COLUMNS}, row_key_canonical, name_folded, change_number)
      values (${values.map(() => '?, ').join('')}1, ${table.now}, ${table.now}, ?, ?, ${taken})`
    return alone(async (query) => {
      await query(text, [...values, canonicalRowKey(rowKey), foldText(name)])
      await assertFree(query, { id, identifier })
      if (maxTenants !== undefined) await assertRoom(query, maxTenants)
      return required(await select(query, byId, id))
    })
  }

  /** Who gave an identifier up keeps it from all others. */
  async function assertFree(query: Query, { id, identifier }: Pick<Tenant, 'id' | 'identifier'>): Promise<void> {
    const [owner] = await query<Row>(`select tenant_id from ${table.released} where identifier = ?`, [identifier])
    if (owner !== undefined && owner['tenant_id'] !== id) throw tenancyError('TENANCY_ERR_TENANT_EXISTS')
  }

  async function rename(query: Query, { id, identifier: before }: Tenant, identifier: string): Promise<void> {
    await assertFree(query, { id, identifier })
    const [kept] = await query<Row>(`select tenant_id from ${table.released} where identifier = ?`, [before])
    if (kept === undefined)
      await query(`insert into ${table.released} (identifier, tenant_id) values (?, ?)`, [before, id])
  }

  /** Who has the number sees all who had it before, and those who wait for it have inserted nothing yet. */
  async function assertRoom(query: Query, most: number): Promise<void> {
    const text = `select count(*) as tenants from
      (select id from ${table.name} where status <> 'purged' order by id ${table.first(most + 1)}) counted`
    const [row] = await query<Row>(text)
    if (Number(row?.['tenants']) > most) throw tenancyError('TENANCY_ERR_TENANT_LIMIT', [most])
  }

  async function update(id: string, input: TenantPatch, expectedVersion?: number): Promise<Tenant> {
    const patch = checkPatch(input)
    const assertExpected = ({ version }: Tenant) => {
      if (expectedVersion === undefined || version === expectedVersion) return
      throw tenancyError('TENANCY_ERR_TENANT_CONFLICT', [expectedVersion])
    }
    if (Object.keys(patch).length === 0) {
      const tenant = required(await getById(id))
      assertExpected(tenant)
      return tenant
    }
    return write(id, async (query, tenant) => {
      assertExpected(tenant)
      await set(query, tenant, valuesOf(tenant, patch))
      if (patch.identifier !== undefined && patch.identifier !== tenant.identifier) {
        await rename(query, tenant, patch.identifier)
      }
    })
  }

  const setStatus = (id: string, to: TenantStatus, from?: TenantStatus) =>
    write(id, async (query, tenant) => {
      if (!sourcesOf(to, from).includes(tenant.status)) {
        throw tenancyError('TENANCY_ERR_STATUS_TRANSITION', [tenant.status, to])
      }
      await set(query, tenant, { status: to })
    })

  async function discard(id: string): Promise<boolean> {
    if (!isTenantId(id)) return false
    return alone(async (query) => {
      const tenant = await select(query, table.locked, id)
      if (tenant?.status !== 'provisioning') return false
      await query(`delete from ${table.name} where id = ?`, [id])
      return true
    })
  }

  async function list(options: ListOptions = {}): Promise<TenantPage> {
    const { limit, ...filter } = readPage(options)
    const { text, values } = conditionsOf(filter, table)
    // One more than asked for tells whether there is a next page.
    const page = `select ${READ} from ${table.name} ${text} order by created_at desc, id desc ${table.first(limit + 1)}`
    const rows = await run(() => readAll<Row>(page, values))
    const tenants = rows.slice(0, limit).map(toTenant)
    const last = tenants.at(-1)
    return deepFreeze({ tenants, ...(last !== undefined && rows.length > limit && { next: encodeCursor(last) }) })
  }

  async function count(status?: TenantStatus): Promise<number> {
    const where = status === undefined ? '' : ' where status = ?'
    const text = `select count(*) as tenants from ${table.name}${where}`
    const [row] = await run(() => readAll<Row>(text, status === undefined ? [] : [status]))
    return Number(row?.['tenants'])
  }

  return Object.freeze({
    initialize: () => run(() => table.initialize(connection)),
    getById,
    getByIdentifier: async (identifier: string) =>
      parseIdentifier(identifier) === undefined ? undefined : run(() => select(read, byIdentifier, identifier)),
    getByIds,
    insert,
    update,
    setStatus,
    discard,
    list,
    count,
    changes: (after?: string) =>
      readChanges(after, {
        async last() {
          const text = `select last, ${table.incarnation} as incarnation from ${table.counter}`
          const [row] = await run(() => read<Row>(text))
          return { number: Number(row?.['last']), incarnation: String(row?.['incarnation']) }
        },
        async changed({ number, id }, limit) {
          const later = id === undefined ? 'change_number > ?' : '(change_number > ? or (change_number = ? and id > ?))'
          const text = `select ${READ}, change_number from ${table.name} where ${later}
            order by change_number, id ${table.first(limit)}`
          const rows = await run(() => readAll<Row>(text, id === undefined ? [number] : [number, number, id]))
          return rows.map((row) => ({ tenant: toTenant(row), number: Number(row['change_number']) }))
        },
      }),
    ...hotTenants({
      read: () => run(() => read<HotRow>(`select ids from ${table.hot}`)),
      write: (ids) => run(() => read(`update ${table.hot} set ids = ?`, [ids])),
    }),
    ping: () => run(async () => void (await read(`select 1 as one from ${table.name}, ${table.counter} where 1 = 0`))),
    async close() {},
  })
}

/** The WHERE of a list, with its values. */
function conditionsOf(
  { status, search, after }: Omit<PageQuery, 'limit'>,
  { contains }: RegistrySql,
): { text: string; values: string[] } {
  const conditions: [text: string, ...values: string[]][] = []
  if (status !== undefined) conditions.push(['status = ?', status])
  // Every text has the empty one in it, but for SQL Server.
  if (search !== undefined && search !== '') {
    // MySQL refuses to look for other characters than those of its column.
    const parts = isPartOfIdentifier(search) ? ['identifier', 'name_folded'] : ['name_folded']
    const text = parts.map(contains).join(' or ')
    conditions.push([`(${text})`, ...parts.map(() => search)])
  }
  if (after !== undefined) {
    const { createdAt, id } = after
    // The first part is for SQLite, which would read an OR from the first page on.
    conditions.push(['created_at <= ? and (created_at < ? or id < ?)', createdAt, createdAt, id])
  }
  const text = conditions.length === 0 ? '' : `where ${conditions.map(([condition]) => condition).join(' and ')}`
  return { text, values: conditions.flatMap(([, ...values]) => values) }
}

function required(tenant: Tenant | undefined): Tenant {
  if (tenant === undefined) throw tenancyError('TENANCY_ERR_TENANT_NOT_FOUND')
  return tenant
}

function valuesOf({ metadata }: Tenant, { metadata: change, ...columns }: CheckedPatch): Record<string, string> {
  const patch = { ...columns, ...(columns.name !== undefined && { name_folded: foldText(columns.name) }) }
  if (change === undefined) return patch
  return { ...patch, metadata: JSON.stringify(merged(metadata, { metadata: change })) }
}

function toTenant(row: Row): Tenant {
  const text = (column: string) => String(row[column])
  return deepFreeze({
    id: text('id'),
    identifier: text('identifier'),
    name: text('name'),
    status: text('status') as TenantStatus,
    placement: {
      strategy: text('strategy') as Tenant['placement']['strategy'],
      server: text('server'),
      namespace: text('namespace'),
      rowKey: text('row_key'),
    },
    metadata: JSON.parse(text('metadata')) as Tenant['metadata'],
    version: Number(row['version']),
    createdAt: text('created_at'),
    updatedAt: text('updated_at'),
  })
}
