import type { AdminConnection } from '../../contracts/dialect.ts'
import { quoteIdentifier } from './quote.ts'
import { ROW_KEYS } from './rls/row-keys.ts'

type Query = AdminConnection['query']

/** What a role that serves gets in the schema of a tenant. */
const RIGHTS = { table: 'select, insert, update, delete', sequence: 'usage, select, update' } as const

/** A table, view or sequence that the admin role can give rights on. */
interface Relation {
  readonly name: string
  readonly kind: keyof typeof RIGHTS
  /** What `from` has; null for nothing. */
  readonly rights: string | null
  readonly hidden: boolean
}

/**
 * For the admin role alone: Drizzle's own journal and its sequence, with and without the prefix of a tenant, and who has which
 * row key.
 */
const HIDDEN = `^((t[0-9a-z]{25}__)?__drizzle_migrations|${ROW_KEYS}$)`

/** What a role that serves gets in a schema: in what is there later, and in what is there already. */
export interface SchemaRights {
  later(schema: string, role: string): readonly string[]
  readonly present: Readonly<Partial<Record<keyof typeof RIGHTS, string>>>
}

/** Rows, in the schema of a tenant and in that of prefixed tables. */
export const ownRights: SchemaRights = Object.freeze({
  later: defaultRights,
  present: RIGHTS,
})

/** In a schema that tenants share each table is granted by itself, once it has policies. */
export const sharedRights: SchemaRights = Object.freeze({
  later(schema: string, role: string) {
    const [place, to] = [quoteIdentifier(schema), quoteIdentifier(role)]
    // A shared sequence must not be set back by one of those who draw from it.
    return [
      `grant usage on schema ${place} to ${to}`,
      `alter default privileges in schema ${place} grant usage on sequences to ${to}`,
    ]
  },
  present: { sequence: 'usage' },
})

/**
 * Gives `role` in a schema what the one that served before has there, if it has nothing: somebody may serve with another role than
 * the schema was made for. One that has something keeps what it has, as migrations may have taken some of it.
 */
export async function giveRights(
  query: Query,
  schema: string,
  role: string,
  { later, present }: SchemaRights,
): Promise<void> {
  const [usable] = await query<{ yes: boolean }>(
    `select pg_catalog.has_schema_privilege($2::name, oid, 'USAGE') as yes from pg_catalog.pg_namespace where nspname = $1`,
    [schema, role],
  )
  if (usable?.yes !== false) return
  const [place, to] = [quoteIdentifier(schema), quoteIdentifier(role)]
  const given = (await relations(query, schema, role)).flatMap(({ name, kind, hidden }) => {
    const rights = hidden ? undefined : present[kind]
    return rights === undefined ? [] : [`grant ${rights} on ${kind} ${place}.${quoteIdentifier(name)} to ${to}`]
  })
  await query([...later(schema, role), ...given].join(';'))
}

/**
 * Gives `to` in a schema what `from` has there, and takes it from `from`. If both have nothing, which nobody means, `to` gets
 * rows of every table.
 * @returns whether anything was done
 */
export async function moveRights(query: Query, schema: string, from: string, to: string): Promise<boolean> {
  const [usable] = await query<{ from: boolean; to: boolean }>(
    `select pg_catalog.has_schema_privilege($2::name, oid, 'USAGE') as "from", pg_catalog.has_schema_privilege($3::name, oid, 'USAGE') as "to"
     from pg_catalog.pg_namespace where nspname = $1`,
    [schema, from, to],
  )
  if (usable === undefined || (usable.to && !usable.from)) return false
  const place = quoteIdentifier(schema)
  const [old, next] = [quoteIdentifier(from), quoteIdentifier(to)]
  const statements = (await relations(query, schema, from)).flatMap(({ name, kind, rights, hidden }) => {
    const given = usable.from ? rights : hidden ? null : RIGHTS[kind]
    const on = `on ${kind} ${place}.${quoteIdentifier(name)}`
    return [
      ...(given === null ? [] : [`grant ${given} ${on} to ${next}`]),
      ...(rights === null ? [] : [`revoke all ${on} from ${old}`]),
    ]
  })
  const defaults = (kind: string) => `alter default privileges in schema ${place} revoke all on ${kind} from ${old}`
  await query(
    [
      ...defaultRights(schema, to),
      ...statements,
      defaults('tables'),
      defaults('sequences'),
      `revoke all on schema ${place} from ${old}`,
    ].join(';'),
  )
  return true
}

function relations(query: Query, schema: string, role: string): Promise<Relation[]> {
  return query<Relation>(
    `select c.relname::text as name, case c.relkind when 'S' then 'sequence' else 'table' end as kind,
       c.relname::text ~ $3 as hidden,
       (select pg_catalog.string_agg(a.privilege_type, ', ') from pg_catalog.aclexplode(c.relacl) a
         where a.grantee = (select oid from pg_catalog.pg_roles where rolname = $2)) as rights
     from pg_catalog.pg_class c
     where c.relnamespace = (select oid from pg_catalog.pg_namespace where nspname = $1) and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
       and pg_catalog.pg_has_role(c.relowner, 'USAGE')`,
    [schema, role, HIDDEN],
  )
}

function defaultRights(schema: string, role: string): string[] {
  const [place, to] = [quoteIdentifier(schema), quoteIdentifier(role)]
  const grant = (kind: keyof typeof RIGHTS) =>
    `alter default privileges in schema ${place} grant ${RIGHTS[kind]} on ${kind}s to ${to}`
  return [`grant usage on schema ${place} to ${to}`, grant('table'), grant('sequence')]
}
