import { currentTenantDefault } from './dialects/postgres/rls/current-tenant.ts'
import { tenancyError } from './errors.ts'

/** Types that a tenant column can have, by Drizzle's names for them. */
const TYPES = ['uuid', 'text', 'varchar', 'integer', 'bigint'] as const

type TypeName = (typeof TYPES)[number]

/** A builder of a Drizzle column, as far as it is used here. */
interface ColumnBuilder {
  notNull(): { default(value: never): unknown }
}

/** A builder of a Drizzle column once it is not null and has a default. */
type Filled<TBuilder extends ColumnBuilder> = ReturnType<ReturnType<TBuilder['notNull']>['default']>

/** A builder of a unique constraint. */
interface UniqueBuilder {
  on(...columns: never): unknown
}

/** A column of a Drizzle table. */
interface Column {
  readonly name: string
}

type Columns = readonly [Column, ...Column[]]

/** A table, or the columns that Drizzle hands to the function behind them. */
interface TenantTable {
  readonly tenantId: Column
}

/** Exactly one of Drizzle's column functions, under its own name: it says the type. */
type TenantType<TBuilder> = {
  [Name in TypeName]: { readonly [Key in Name]: (name: string) => TBuilder } & {
    readonly [Key in Exclude<TypeName, Name>]?: never
  }
}[TypeName]

/** What {@link tenantKeys} takes: the functions of your own `drizzle-orm` and `drizzle-orm/pg-core`. */
export type TenantKeysOptions<TBuilder, TPrimaryKey, TForeignKey, TUnique> = TenantType<TBuilder> & {
  readonly sql: { raw(text: string): unknown }
  readonly primaryKey: (config: never) => TPrimaryKey
  readonly foreignKey: (config: never) => TForeignKey
  readonly unique: (name?: string) => TUnique
  /** The name of the column in the database, as `tenantColumn` of the configuration has it. Default `tenant_id`. */
  readonly tenantColumn?: string
}

/** What {@link tenantKeys} gives. Each is Drizzle's own function, with the tenant in front of the columns. */
export interface TenantKeys<TBuilder extends ColumnBuilder, TPrimaryKey, TForeignKey, TUnique extends UniqueBuilder> {
  /** The tenant column: never null, filled in by the database. Nobody has to write it. */
  tenantId(): Filled<TBuilder>
  /** As Drizzle's `primaryKey`. */
  tenantPrimaryKey(table: TenantTable, config: { readonly name?: string; readonly columns: Columns }): TPrimaryKey
  /** As Drizzle's `foreignKey`: refers to a row of the same tenant, and of no other. */
  tenantForeignKey<TColumns extends Columns>(
    table: TenantTable,
    config: {
      readonly name?: string
      readonly columns: TColumns
      readonly foreignTable: TenantTable
      readonly foreignColumns: { readonly [Index in keyof TColumns]: Column }
    },
  ): TForeignKey
  /** As Drizzle's `unique`: unique inside a tenant. */
  tenantUnique(table: TenantTable, name?: string): { on(...columns: Columns): ReturnType<TUnique['on']> }
}

/**
 * Makes what tables need that tenants share under row-level security: the column that says whose a row is, as `tenantId`, and
 * keys that begin with it. For a schema file: Drizzle is what you hand in.
 *
 *     const { tenantId, tenantPrimaryKey } = tenantKeys({ uuid, primaryKey, foreignKey, unique, sql })
 *     export const orders = pgTable('orders', { tenantId: tenantId(), id: integer().notNull() }, (t) => [
 *       tenantPrimaryKey(t, { columns: [t.id] }),
 *     ])
 *
 * @throws TENANCY_ERR_CONFIG_INVALID unless exactly one column type is given
 */
export function tenantKeys<TBuilder extends ColumnBuilder, TPrimaryKey, TForeignKey, TUnique extends UniqueBuilder>(
  options: TenantKeysOptions<TBuilder, TPrimaryKey, TForeignKey, TUnique>,
): TenantKeys<TBuilder, TPrimaryKey, TForeignKey, TUnique> {
  const { sql, primaryKey, foreignKey, unique, tenantColumn = 'tenant_id' } = options
  const type = typeOf(options)
  const column = options[type] as (name: string) => TBuilder
  return Object.freeze({
    tenantId: () =>
      column(tenantColumn)
        .notNull()
        .default(sql.raw(currentTenantDefault(type)) as never) as Filled<TBuilder>,

    tenantPrimaryKey: ({ tenantId }, { columns, ...config }) =>
      primaryKey({ ...config, columns: [tenantId, ...columns] } as never),

    tenantForeignKey: ({ tenantId }, { columns, foreignTable, foreignColumns, ...config }) =>
      foreignKey({
        ...config,
        columns: [tenantId, ...columns],
        foreignColumns: [foreignTable.tenantId, ...(foreignColumns as readonly unknown[])],
      } as never),

    tenantUnique: ({ tenantId }, name) => ({
      on: (...columns) => unique(name).on(...([tenantId, ...columns] as never)) as ReturnType<TUnique['on']>,
    }),
  } satisfies TenantKeys<TBuilder, TPrimaryKey, TForeignKey, TUnique>)
}

function typeOf(options: Partial<Record<TypeName, unknown>>): TypeName {
  const [type, ...others] = TYPES.filter((name) => options[name] !== undefined)
  if (type === undefined || others.length > 0) {
    throw tenancyError('TENANCY_ERR_CONFIG_INVALID', [`- tenantKeys() takes exactly one of ${TYPES.join(', ')}`])
  }
  return type
}
