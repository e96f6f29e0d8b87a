import type * as drizzleOrm from 'drizzle-orm'
import type * as drizzlePgCore from 'drizzle-orm/pg-core'
import type { AdminConnection } from '../contracts/dialect.ts'
import type { NewTenant, Tenant, TenantStatus } from '../contracts/tenant.ts'
import { tenancyError } from '../errors.ts'
import { foldText } from '../util/fold-text.ts'
import { loadPeer } from '../util/load-peer.ts'
import { canonicalRowKey } from '../util/row-key.ts'
import type { ChangePosition } from './change-position.ts'
import type { PageQuery } from './page-cursor.ts'
import type { CheckedPatch } from './tenant-input.ts'

/** What {@link loadRegistryQueries} takes; see the options of the store. */
export interface RegistryQueriesOptions {
  readonly admin: AdminConnection
  readonly drizzle: (client: object) => unknown
  readonly schema: string
}

/** A row of the registry, in the same form from every driver and every version of Drizzle. */
export interface RegistryRow
  extends Pick<Tenant, 'id' | 'identifier' | 'name' | 'status' | 'version' | 'createdAt' | 'updatedAt'> {
  readonly strategy: Tenant['placement']['strategy']
  readonly server: string
  readonly namespace: string
  readonly rowKey: string
  /** JSON text. */
  readonly metadata: string
}

/** A row with the number of its latest change, as text. */
export interface ChangedRow extends RegistryRow {
  readonly changeNumber: string
}

/** The counter of the changes. */
export interface LastChangeRow {
  readonly last: string
  readonly incarnation: string
}

/** The statements of the registry. Each is one statement, but for an insert with a limit; writes give the row as it now is, or none. */
export interface RegistryQueries {
  byId(id: string): PromiseLike<RegistryRow[]>
  byIdentifier(identifier: string): PromiseLike<RegistryRow[]>
  /** In any order. */
  byIds(ids: readonly string[]): PromiseLike<RegistryRow[]>
  /** @throws TENANCY_ERR_TENANT_LIMIT when there are more than `maxTenants` then that are not purged */
  insert(tenant: NewTenant, maxTenants?: number): PromiseLike<RegistryRow[]>
  update(id: string, patch: CheckedPatch, expectedVersion?: number): PromiseLike<RegistryRow[]>
  setStatus(id: string, to: TenantStatus, sources: readonly TenantStatus[]): PromiseLike<RegistryRow[]>
  discard(id: string): PromiseLike<RegistryRow[]>
  /** At most `limit` rows that match, newest first. */
  list(limit: number, filter: Omit<PageQuery, 'limit'>): PromiseLike<RegistryRow[]>
  /** One row with one number. */
  count(status?: TenantStatus): PromiseLike<readonly { readonly rows: number }[]>
  /** One row with the number of the latest change, as text, and the incarnation of the registry. */
  lastChange(): PromiseLike<readonly LastChangeRow[]>
  /** At most `limit` rows whose latest change comes after `after`, in the order of their changes. */
  changed(after: ChangePosition, limit: number): PromiseLike<ChangedRow[]>
}

type Orm = typeof drizzleOrm
type PgCore = typeof drizzlePgCore
type Table = ReturnType<typeof defineTable>
type Counter = ReturnType<typeof defineCounter>

/** What another query may select from. */
interface SubQuery {
  readonly _: object
}

/** The part of a Drizzle query that 0.45 and 1.0 have in common. */
interface Query<TRow> extends PromiseLike<TRow[]> {
  from(table: Table | Counter | SubQuery): Query<TRow>
  set(values: object): Query<TRow>
  values(values: object): Query<TRow>
  where(condition: unknown): Query<TRow>
  orderBy(...columns: unknown[]): Query<TRow>
  limit(rows: number): Query<TRow>
  returning(fields: object): Query<TRow>
  as(name: string): SubQuery
}

/** The part of a Drizzle database that 0.45 and 1.0 have in common. */
interface Database {
  select<TRow = RegistryRow>(fields: object): Query<TRow>
  insert(table: Table): Query<RegistryRow>
  update(table: Table): Query<RegistryRow>
  delete(table: Table): Query<RegistryRow>
  transaction<T>(work: (transaction: Database) => Promise<T>): Promise<T>
}

/**
 * Loads Drizzle and makes the registry's statements with its query builder.
 * @throws TENANCY_ERR_PEER_MISSING
 */
export async function loadRegistryQueries(options: RegistryQueriesOptions): Promise<RegistryQueries> {
  const [orm, pgCore] = await loadDrizzle()
  const { and, desc, eq, inArray, ne, sql } = orm
  const table = defineTable(orm, pgCore, options.schema)
  const counter = defineCounter(pgCore, options.schema)
  const fields = defineFields(orm, table)
  const database = options.drizzle(options.admin.client) as Database
  const touched = { version: sql`${table.version} + 1`, updatedAt: sql`clock_timestamp()` }
  const maybe = <T>(value: T | undefined, condition: (value: T) => unknown) =>
    value === undefined ? undefined : (condition(value) as ReturnType<typeof eq>)
  const insertInto = (into: Database, { placement, metadata, ...columns }: NewTenant) => {
    const json = sql`${JSON.stringify(metadata)}::text::jsonb`
    const derived = { rowKeyCanonical: canonicalRowKey(placement.rowKey), nameFolded: foldText(columns.name) }
    return into
      .insert(table)
      .values({ ...columns, ...placement, ...derived, metadata: json })
      .returning(fields)
  }
  const change = (values: object, condition: unknown) =>
    database
      .update(table)
      .set({ ...values, ...touched })
      .where(condition)
      .returning(fields)

  return Object.freeze({
    byId: (id: string) => database.select(fields).from(table).where(eq(table.id, id)),
    byIdentifier: (identifier: string) => database.select(fields).from(table).where(eq(table.identifier, identifier)),
    byIds: (ids: readonly string[]) =>
      database
        .select(fields)
        .from(table)
        .where(inArray(table.id, [...ids])),
    insert: (tenant: NewTenant, most?: number) =>
      most === undefined
        ? insertInto(database, tenant)
        : database.transaction(async (transaction) => {
            const rows = await insertInto(transaction, tenant)
            // The insert has the change counter now: it sees all who had it before, and who waits for it is not counted yet.
            const [counted] = await transaction.select<{ readonly rows: number }>({ rows: sql`count(*)::int` }).from(
              transaction
                .select({ one: sql`1`.as('one') })
                .from(table)
                .where(ne(table.status, 'purged'))
                .limit(most + 1)
                .as('counted'),
            )
            if (Number(counted?.rows) > most) throw tenancyError('TENANCY_ERR_TENANT_LIMIT', [most])
            return rows
          }),
    update(id: string, { metadata, ...columns }: CheckedPatch, expected?: number) {
      const merged = metadata && { metadata: merge(orm, table, metadata) }
      const unchanged = maybe(expected, (version) => eq(table.version, version))
      const folded = columns.name !== undefined && { nameFolded: foldText(columns.name) }
      return change({ ...columns, ...folded, ...merged }, and(eq(table.id, id), unchanged))
    },
    setStatus: (id: string, to: TenantStatus, sources: readonly TenantStatus[]) =>
      change({ status: to }, and(eq(table.id, id), inArray(table.status, [...sources]))),
    discard: (id: string) =>
      database
        .delete(table)
        .where(and(eq(table.id, id), eq(table.status, 'provisioning')))
        .returning(fields),
    list(limit: number, { status, search, after }: Omit<PageQuery, 'limit'>) {
      const { createdAt, id, identifier, nameFolded } = table
      const older = maybe(
        after,
        (last) => sql`(${createdAt}, ${id}) < (${last.createdAt}::text::timestamptz, ${last.id}::text::uuid)`,
      )
      const found = maybe(search, (text) => {
        const pattern = patternOf(text)
        return sql`(${identifier} like ${pattern} or ${nameFolded} like ${pattern})`
      })
      const matching = and(
        maybe(status, (wanted) => eq(table.status, wanted)),
        found,
        older,
      )
      return database.select(fields).from(table).where(matching).orderBy(desc(createdAt), desc(id)).limit(limit)
    },
    count: (status?: TenantStatus) =>
      database
        .select<{ readonly rows: number }>({ rows: sql`count(*)::int` })
        .from(table)
        .where(maybe(status, (wanted) => eq(table.status, wanted))),
    lastChange() {
      // After a failover or a restored backup another server answers, or the same one anew; a table that was dumped and made again has
      // another number. Each may have lost changes.
      const incarnation = sql`concat_ws('.', incarnation, tableoid, extract(epoch from pg_postmaster_start_time()))`
      return database.select<LastChangeRow>({ last: sql`${counter.last}::text`, incarnation }).from(counter)
    },
    changed({ number, id }: ChangePosition, limit: number) {
      const { changeNumber } = table
      const later =
        id === undefined
          ? sql`${changeNumber} > ${number}::text::bigint`
          : sql`(${changeNumber}, ${table.id}) > (${number}::text::bigint, ${id}::text::uuid)`
      return database
        .select<ChangedRow>({ ...fields, changeNumber: sql`${changeNumber}::text` })
        .from(table)
        .where(later)
        .orderBy(changeNumber, table.id)
        .limit(limit)
    },
  })
}

/** For LIKE: the text anywhere in another, with its own `%` and `_` as plain characters. */
function patternOf(text: string): string {
  return `%${text.replaceAll(/[\\%_]/g, '\\$&')}%`
}

function loadDrizzle(): Promise<[Orm, PgCore]> {
  return loadPeer('drizzle-orm', () => Promise.all([import('drizzle-orm'), import('drizzle-orm/pg-core')]))
}

function defineTable(
  { sql }: Orm,
  { pgSchema, uuid, text, jsonb, integer, bigint, timestamp }: PgCore,
  schema: string,
) {
  const now = sql`clock_timestamp()`
  return pgSchema(schema).table('tenants', {
    id: uuid('id').primaryKey(),
    identifier: text('identifier').notNull(),
    name: text('name').notNull(),
    status: text('status').notNull(),
    strategy: text('strategy').notNull(),
    server: text('server').notNull(),
    namespace: text('namespace').notNull(),
    rowKey: text('row_key').notNull(),
    rowKeyCanonical: text('row_key_canonical').notNull(),
    nameFolded: text('name_folded').notNull(),
    metadata: jsonb('metadata').notNull(),
    version: integer('version').notNull().default(1),
    changeNumber: bigint('change_number', { mode: 'number' }).notNull().default(0),
    createdAt: timestamp('created_at', { withTimezone: true, precision: 3 }).notNull().default(now),
    updatedAt: timestamp('updated_at', { withTimezone: true, precision: 3 }).notNull().default(now),
  })
}

function defineCounter({ pgSchema, bigint }: PgCore, schema: string) {
  return pgSchema(schema).table('change_counter', { last: bigint('last', { mode: 'number' }).notNull() })
}

function defineFields({ sql }: Orm, table: Table): object {
  const { id, identifier, name, status, strategy, server, namespace, rowKey, version } = table
  const instant = (column: unknown) => sql`to_char(${column} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`
  // As text, because drivers and Drizzle versions differ in what they make of timestamps and JSON.
  const metadata = sql`${table.metadata}::text`
  const times = { createdAt: instant(table.createdAt), updatedAt: instant(table.updatedAt) }
  return { id, identifier, name, status, strategy, server, namespace, rowKey, version, metadata, ...times }
}

/** In the UPDATE itself, so that the row lock makes it atomic. `||` and `-` see the top level only: nested nulls stay. */
function merge({ sql }: Orm, table: Table, { set, remove }: NonNullable<CheckedPatch['metadata']>): unknown {
  return sql`(${table.metadata} || ${JSON.stringify(set)}::text::jsonb)
    - array(select jsonb_array_elements_text(${JSON.stringify(remove)}::text::jsonb))`
}
