import type { AdminConnection } from '../../../contracts/dialect.ts'
import type { SharedTables } from '../../../contracts/shared-tables.ts'
import { tenancyError } from '../../../errors.ts'
import { quoteIdentifier } from '../quote.ts'
import { changesOthers, changingKey } from './misuse.ts'

type Query = AdminConnection['query']

/** A table, view or sequence of the shared schema. */
interface Relation {
  readonly name: string
  readonly kind: 'r' | 'p' | 'v' | 'm' | 'f' | 'S'
  /** The table that a sequence counts for. */
  readonly counts: string | null
  /** Whether it has the tenant column. */
  readonly tenant: boolean
  /** Whether the serving role is its owner, or a member of the role that is. */
  readonly owned: boolean
  /** What the serving role was given, by name or as everybody. */
  readonly granted: readonly string[]
  readonly by_column: boolean
  /** What it can do, by whatever way. */
  readonly effective: readonly string[]
}

const READ = ['SELECT']
const WRITE = ['DELETE', 'INSERT', 'SELECT', 'UPDATE']
const TABLES: readonly string[] = ['r', 'p']

/**
 * Gives the serving role exactly what the configuration says: rows of the named tables to read, of the writable ones to
 * write, and nothing else of the schema, such as its ledger. Changes nothing that is right already.
 * @throws TENANCY_ERR_SHARED_TABLES for a table that is missing or has the tenant column, for a right that comes by another
 * way, and for a foreign key through which tenants would change more than the writable tables
 */
export async function sealShared(query: Query, shared: SharedTables, servingRole: string | undefined): Promise<void> {
  const before = await relationsOf(query, shared, servingRole)
  refuseUnfit(before, shared)
  if (servingRole === undefined) return
  const owned = before.find((relation) => relation.owned)
  if (owned !== undefined) throw refusal(`the serving role owns ${owned.name}, or is a member of the role that does`)
  const repairs = before.flatMap((relation) => repairsOf(relation, shared, servingRole))
  for (const statement of repairs) await query(statement)
  const after = repairs.length === 0 ? before : await relationsOf(query, shared, servingRole)
  for (const relation of after) {
    const excess = relation.effective.filter((right) => !wantedFor(relation, shared).includes(right))
    if (excess.length === 0) continue
    throw refusal(`the serving role can ${excess.join(', ')} on ${relation.name} by way of another role`)
  }
  await refuseChangingKeys(query, shared, servingRole)
}

function refuseUnfit(relations: readonly Relation[], { names, writable, tenantColumn }: SharedTables): void {
  for (const name of names) {
    const found = relations.find((relation) => relation.name === name && relation.kind !== 'S')
    if (found === undefined) throw refusal(`${name} is not made by \`sharedMigrations\``)
    if (found.tenant) throw refusal(`${name} has the column ${tenantColumn}, and every tenant would read all its rows`)
    if (writable.includes(name) && !TABLES.includes(found.kind)) throw refusal(`${name} is writable and no table`)
  }
}

function wantedFor({ name, kind, counts }: Relation, { names, writable }: SharedTables): readonly string[] {
  // To draw from it, not to set it back.
  if (kind === 'S') return counts !== null && writable.includes(counts) ? ['USAGE'] : []
  if (writable.includes(name)) return WRITE
  return names.includes(name) ? READ : []
}

function repairsOf(relation: Relation, shared: SharedTables, servingRole: string): string[] {
  const wanted = wantedFor(relation, shared)
  if (!relation.by_column && relation.granted.join() === wanted.join()) return []
  const kind = relation.kind === 'S' ? 'sequence' : 'table'
  const full = `${kind} ${quoteIdentifier(shared.schema)}.${quoteIdentifier(relation.name)}`
  const role = quoteIdentifier(servingRole)
  // Takes what was given on columns too.
  const revoke = `revoke all on ${full} from public, ${role}`
  return wanted.length === 0 ? [revoke] : [revoke, `grant ${wanted.join(', ')} on ${full} to ${role}`]
}

function relationsOf(query: Query, shared: SharedTables, servingRole: string | undefined): Promise<Relation[]> {
  return query<Relation>(
    `select c.relname::text as name, c.relkind::text as kind,
       (select t.relname::text from pg_catalog.pg_depend d join pg_catalog.pg_class t on t.oid = d.refobjid
         where c.relkind = 'S' and d.classid = 'pg_catalog.pg_class'::regclass and d.objid = c.oid
           and d.refclassid = 'pg_catalog.pg_class'::regclass and d.deptype in ('a', 'i') limit 1) as counts,
       exists (select from pg_catalog.pg_attribute a where a.attrelid = c.oid and a.attname = $2 and not a.attisdropped) as tenant,
       coalesce(pg_catalog.pg_has_role(r.oid, c.relowner, 'MEMBER'), false) as owned,
       array(select distinct g.privilege_type from pg_catalog.aclexplode(c.relacl) g where g.grantee in (0, r.oid) order by 1) as granted,
       exists (select from pg_catalog.pg_attribute a, pg_catalog.aclexplode(a.attacl) g
         where a.attrelid = c.oid and g.grantee in (0, r.oid)) as by_column,
       array(select p from pg_catalog.unnest(array['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) p
         where c.relkind <> 'S' and (pg_catalog.has_table_privilege(r.oid, c.oid, p)
           or (p in ('SELECT', 'INSERT', 'UPDATE', 'REFERENCES') and pg_catalog.has_any_column_privilege(r.oid, c.oid, p)))
         union all select p from pg_catalog.unnest(array['USAGE', 'SELECT', 'UPDATE']) p
         where c.relkind = 'S' and pg_catalog.has_sequence_privilege(r.oid, c.oid, p)) as effective
     from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     left join pg_catalog.pg_roles r on r.rolname = $3
     where n.nspname = $1 and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S') order by 1`,
    [shared.schema, shared.tenantColumn, servingRole ?? null],
  )
}

/** Also those of tenants that were made when the table could not be written. */
async function refuseChangingKeys(
  query: Query,
  { schema, writable }: SharedTables,
  servingRole: string,
): Promise<void> {
  const [key] = await query<{ key: string; parent: string }>(
    `select k.conname::text as key, parent.relname::text as parent from pg_catalog.pg_constraint k
     join pg_catalog.pg_class parent on parent.oid = k.confrelid join pg_catalog.pg_namespace n on n.oid = parent.relnamespace
     join pg_catalog.pg_class child on child.oid = k.conrelid
     where k.contype = 'f' and n.nspname = $1 and ${changesOthers('$2')}
       and not (child.relnamespace = parent.relnamespace and child.relname = any ($3::text[]))`,
    [schema, servingRole, writable],
  )
  if (key !== undefined) throw changingKey(key.key, key.parent)
}

function refusal(reason: string): Error {
  return tenancyError('TENANCY_ERR_SHARED_TABLES', [reason])
}
