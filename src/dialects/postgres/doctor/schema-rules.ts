import type { AdminConnection } from '../../../contracts/dialect.ts'
import type { Finding } from '../../../contracts/verification.ts'
import { finding, type RuleId } from '../../../verification/rules.ts'
import type { SharedSchemas } from '../layout.ts'

type Query = AdminConnection['query']

/** The rules that {@link schemaFindings} looks at. */
export const SCHEMA_RULES: readonly RuleId[] = ['schema-2', 'schema-4', 'schema-5', 'base-2']

/** What the catalogue has against schemas, extensions and default privileges. */
export async function schemaFindings(query: Query, role: string, shared: SharedSchemas): Promise<Finding[]> {
  return [
    ...(await strangeSchemas(query, shared)),
    ...(await publicFindings(query, role)),
    ...(await extensionFindings(query)),
    ...(await defaultFindings(query, role, shared)),
  ]
}

async function strangeSchemas(query: Query, { rlsSchema, prefixSchema }: SharedSchemas): Promise<Finding[]> {
  const found = await query<{ name: string }>(
    `select nspname::text as name from pg_catalog.pg_namespace
     where (nspname ~ '^t[0-9a-z]{25}$' or nspname in ($1, $2))
       and not pg_catalog.starts_with(coalesce(pg_catalog.obj_description(oid, 'pg_namespace'), ''), 'fastify-tenancy ') order by 1`,
    [rlsSchema, prefixSchema],
  )
  return found.map(({ name }) => finding('schema-2', name, `the schema ${name} was not made by fastify-tenancy`))
}

async function publicFindings(query: Query, role: string): Promise<Finding[]> {
  const found = await query(
    `select from pg_catalog.pg_namespace where nspname = 'public' and pg_catalog.has_schema_privilege($1::name, oid, 'CREATE')`,
    [role],
  )
  return found.length === 0 ? [] : [finding('schema-4', 'public', 'the serving role can create in the schema public')]
}

async function extensionFindings(query: Query): Promise<Finding[]> {
  const found = await query<{ name: string; schema: string }>(
    `select e.extname::text as name, n.nspname::text as schema from pg_catalog.pg_extension e
     join pg_catalog.pg_namespace n on n.oid = e.extnamespace
     where n.nspname = 'public' or pg_catalog.starts_with(coalesce(pg_catalog.obj_description(n.oid, 'pg_namespace'), ''), 'fastify-tenancy ')
     order by 1`,
  )
  return found.map(({ name, schema }) => finding('schema-5', name, `the extension ${name} is in the schema ${schema}`))
}

interface DefaultRow {
  readonly place: string
  readonly kind: string
  readonly grantee: string
  readonly rights: readonly string[]
}

/** Rights that objects get when they are made, beyond those that the library gives. */
async function defaultFindings(query: Query, role: string, { rlsSchema }: SharedSchemas): Promise<Finding[]> {
  const rows = await query<DefaultRow>(
    `select coalesce('the schema ' || n.nspname, 'all schemas') as place, case d.defaclobjtype when 'r' then 'tables' when 'S' then 'sequences' else 'schemas' end as kind,
       case g.grantee when 0 then 'everybody' else 'the serving role' end as grantee, pg_catalog.array_agg(g.privilege_type::text order by 1) as rights
     from pg_catalog.pg_default_acl d left join pg_catalog.pg_namespace n on n.oid = d.defaclnamespace
     left join pg_catalog.pg_roles r on r.rolname = $1, pg_catalog.aclexplode(d.defaclacl) g
     where d.defaclobjtype in ('r', 'S', 'n') and (g.grantee = 0 or (g.grantee = r.oid and r.oid <> d.defaclrole))
       and not (g.grantee = r.oid and n.nspname <> $2
         and pg_catalog.starts_with(coalesce(pg_catalog.obj_description(n.oid, 'pg_namespace'), ''), 'fastify-tenancy ')
         and g.privilege_type in ('SELECT', 'INSERT', 'UPDATE', 'DELETE', 'USAGE'))
       and not (g.grantee = r.oid and n.nspname = $2 and d.defaclobjtype = 'S' and g.privilege_type = 'USAGE')
     group by 1, 2, 3 order by 1, 2, 3`,
    [role, rlsSchema],
  )
  return rows.map(({ place, kind, grantee, rights }) =>
    finding('base-2', place.replace('the schema ', ''), `new ${kind} in ${place} give ${grantee} ${rights.join(', ')}`),
  )
}
