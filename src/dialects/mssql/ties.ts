import type { AdminConnection } from '../../contracts/dialect.ts'

type Query = AdminConnection['query']

/** What leads from one object to another: a foreign key, or a name in the text of a view, trigger or other module. */
export interface Tie {
  /** `foreign key`, or what SQL Server calls the module. */
  readonly kind: string
  readonly name: string
  readonly fromSchema: string
  /** The table, or the module itself. */
  readonly from: string
  /** Null when it is of another database. */
  readonly toSchema: string | null
  readonly to: string
}

/** The foreign keys and dependencies of the database of the session, or only those from or to a schema. */
export function tiesOf(query: Query, schema: string | null = null): Promise<Tie[]> {
  return query<Tie>(
    `select N'foreign key' as kind, k.name, cs.name as fromSchema, c.name as [from], ps.name as toSchema, p.name as [to]
     from sys.foreign_keys k
     join sys.objects c on c.object_id = k.parent_object_id join sys.schemas cs on cs.schema_id = c.schema_id
     join sys.objects p on p.object_id = k.referenced_object_id join sys.schemas ps on ps.schema_id = p.schema_id
     where @p0 is null or cs.name = @p0 or ps.name = @p0
     union all
     select lower(replace(rtrim(r.type_desc), N'_', N' ')), r.name, rs.name, coalesce(t.name, r.name),
       case when d.referenced_database_name is null then coalesce(os.name, d.referenced_schema_name, rs.name) end,
       d.referenced_entity_name
     from sys.sql_expression_dependencies d
     join sys.objects r on r.object_id = d.referencing_id join sys.schemas rs on rs.schema_id = r.schema_id
     left join sys.objects t on t.object_id = r.parent_object_id
     left join sys.objects o on o.object_id = d.referenced_id left join sys.schemas os on os.schema_id = o.schema_id
     where d.referenced_class = 1
       and (@p0 is null or rs.name = @p0 or coalesce(os.name, d.referenced_schema_name) = @p0)`,
    [schema],
  )
}

/** Code in the database of the session: a routine or trigger, whatever its language, but no view. */
export interface Module {
  readonly name: string
  readonly type: string
  readonly schema: string
  /** The table of a trigger, else the module itself. */
  readonly table: string
  /** Whether it runs with the rights of somebody else than who calls it. */
  readonly impersonates: number
}

/** The code of the database of the session, or only that of a schema. */
export function modulesOf(query: Query, schema: string | null = null): Promise<Module[]> {
  return query<Module>(
    `select o.name, lower(replace(rtrim(o.type_desc), N'_', N' ')) as type, s.name as [schema],
       coalesce(t.name, o.name) as [table], case when m.execute_as_principal_id is null then 0 else 1 end as impersonates
     from sys.sql_modules m join sys.objects o on o.object_id = m.object_id
     join sys.schemas s on s.schema_id = o.schema_id left join sys.objects t on t.object_id = o.parent_object_id
     where (@p0 is null or s.name = @p0) and o.type <> 'V' and o.is_ms_shipped = 0`,
    [schema],
  )
}
