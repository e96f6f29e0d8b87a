import type { AdminConnection } from '../../../contracts/dialect.ts'
import type { Layout } from '../layout.ts'
import { isSharedSchema } from '../marks.ts'
import { ROW_KEYS } from './row-keys.ts'

type Query = AdminConnection['query']

/** Which schema to look at. */
export interface SharedSchema {
  readonly layout: Layout
  /** The column that says whose a row is. */
  readonly column: string
  /** The ledger's name: no tenant has rows in it. */
  readonly ledger: string
}

/** A table of the shared schema, as the catalogue has it. */
export interface SharedTable {
  readonly name: string
  /** Type of the tenant column; null when there is none. */
  readonly type: string | null
  /** Its length in bytes; -1 for the longest. */
  readonly length: number | null
  readonly nullable: boolean | null
  /** The default of the tenant column, as SQL Server writes it, and the name of its constraint. */
  readonly default: string | null
  readonly defaultName: string | null
  /** Whether an index without a filter begins with the tenant column. */
  readonly indexed: number
  /** Whether it is of a kind whose rows can be read beside it, such as one with a history table. */
  readonly special: number
}

/** Every table of the shared schema but those of the library's own. */
export function sharedTables(query: Query, { layout, column, ledger }: SharedSchema): Promise<SharedTable[]> {
  return query<SharedTable>(
    `select t.name, y.name as type, c.max_length as length, c.is_nullable as nullable, d.definition as [default],
       d.name as defaultName,
       case when exists (select 1 from sys.index_columns k
         join sys.indexes i on i.object_id = k.object_id and i.index_id = k.index_id
         where k.object_id = t.object_id and k.column_id = c.column_id and k.key_ordinal = 1 and i.has_filter = 0)
         then 1 else 0 end as indexed,
       case when t.temporal_type <> 0 or t.is_memory_optimized = 1 or t.is_external = 1 or t.is_filetable = 1
         then 1 else 0 end as special
     from sys.tables t join sys.schemas s on s.schema_id = t.schema_id
     left join sys.columns c on c.object_id = t.object_id and c.name = @p1
     left join sys.types y on y.user_type_id = c.user_type_id
     left join sys.default_constraints d on d.object_id = c.default_object_id
     where s.name = @p0 and t.name not in (@p2, N'${ROW_KEYS}') order by t.name`,
    [layout.schema, column, ledger],
  )
}

/** A predicate of an enabled policy that is bound to its schema. */
export interface StoredPredicate {
  readonly table: string
  readonly policy: string
  readonly definition: string
  readonly type: 'FILTER' | 'BLOCK'
  /** Null: of everything that it can be of. */
  readonly operation: string | null
}

/** The predicates that are in force on tables of the shared schema. */
export function predicates(query: Query, { layout }: SharedSchema): Promise<StoredPredicate[]> {
  return query<StoredPredicate>(
    `select t.name as [table], p.name as policy, r.predicate_definition as definition, r.predicate_type_desc as type,
       r.operation_desc as operation
     from sys.security_predicates r join sys.security_policies p on p.object_id = r.object_id
     join sys.tables t on t.object_id = r.target_object_id join sys.schemas s on s.schema_id = t.schema_id
     where s.name = @p0 and p.is_enabled = 1 and p.is_schema_bound = 1`,
    [layout.schema],
  )
}

/** A foreign key from or to the shared schema. */
export interface ForeignKey {
  readonly name: string
  readonly child: string
  readonly parent: string
  /** Whether both sides are in the shared schema, and the tenant column of one refers to that of the other. */
  readonly withTenant: number
  /** Whether it leads to a table that all tenants use, and changes nothing when that one is changed. */
  readonly toShared: number
}

/** The foreign keys of the shared schema, and those that lead into or out of it. */
export function foreignKeys(query: Query, { layout, column }: SharedSchema): Promise<ForeignKey[]> {
  return query<ForeignKey>(
    `select k.name, c.name as child, p.name as parent,
       case when c.schema_id = p.schema_id and exists (select 1 from sys.foreign_key_columns f
         join sys.columns a on a.object_id = f.parent_object_id and a.column_id = f.parent_column_id
         join sys.columns b on b.object_id = f.referenced_object_id and b.column_id = f.referenced_column_id
         where f.constraint_object_id = k.object_id and a.name = @p1 and b.name = @p1) then 1 else 0 end as withTenant,
       case when c.schema_id = schema_id(@p0) and k.delete_referential_action = 0 and k.update_referential_action = 0
         and ${isSharedSchema('p.schema_id')} then 1 else 0 end as toShared
     from sys.foreign_keys k
     join sys.tables c on c.object_id = k.parent_object_id join sys.tables p on p.object_id = k.referenced_object_id
     where schema_id(@p0) in (c.schema_id, p.schema_id) order by k.name`,
    [layout.schema, column],
  )
}

/** Objects of the shared schema that run or name what policies do not see. */
export function passages(query: Query, { layout }: SharedSchema): Promise<{ name: string; type: string }[]> {
  return query<{ name: string; type: string }>(
    `select o.name, lower(replace(o.type_desc, N'_', N' ')) as type from sys.objects o
     where o.schema_id = schema_id(@p0) and o.is_ms_shipped = 0
       and o.type in ('P', 'PC', 'FN', 'FS', 'IF', 'TF', 'FT', 'AF', 'TR', 'TA', 'SN', 'X')`,
    [layout.schema],
  )
}

/** Unique indexes without the tenant column: by their error one tenant learns what another has. */
export function oracles(
  query: Query,
  { layout, column, ledger }: SharedSchema,
): Promise<{ table: string; index: string }[]> {
  return query<{ table: string; index: string }>(
    `select t.name as [table], i.name as [index] from sys.indexes i
     join sys.tables t on t.object_id = i.object_id join sys.columns c on c.object_id = t.object_id and c.name = @p1
     where t.schema_id = schema_id(@p0) and t.name not in (@p2, N'${ROW_KEYS}') and i.is_unique = 1 and not exists (
       select 1 from sys.index_columns k where k.object_id = i.object_id and k.index_id = i.index_id
         and k.column_id = c.column_id and k.key_ordinal > 0)
     order by t.name, i.name`,
    [layout.schema, column, ledger],
  )
}

/** Tables whose changed rows are kept for whoever may read the table, whatever policies say. */
export async function captured(query: Query, { layout }: SharedSchema): Promise<string[]> {
  const known = await query("select 1 as found where object_id(N'cdc.change_tables') is not null")
  if (known.length === 0) return []
  const rows = await query<{ name: string }>(
    `select t.name from cdc.change_tables x join sys.tables t on t.object_id = x.source_object_id
     where t.schema_id = schema_id(@p0) and x.role_name is null`,
    [layout.schema],
  )
  return rows.map(({ name }) => name)
}
