import type { AdminConnection } from '../../../contracts/dialect.ts'
import type { Finding } from '../../../contracts/verification.ts'
import { finding, type RuleId } from '../../../verification/rules.ts'
import type { SharedSchema } from '../rls/catalogue.ts'
import { inspect, type Finding as RlsFinding } from '../rls/findings.ts'
import { POLICY_PREFIX } from '../rls/policy.ts'

type Query = AdminConnection['query']

/** The rule of the doctor that each finding breaks. */
const RULES: Readonly<Record<RlsFinding['rule'], RuleId>> = {
  'tenant column': 'rls-24',
  owner: 'rls-1',
  enabled: 'rls-2',
  forced: 'rls-2',
  policies: 'rls-3',
  required: 'rls-8',
  rights: 'rls-11',
  default: 'rls-4',
  index: 'rls-8',
  grants: 'rls-24',
  'foreign keys': 'rls-9',
  'unique keys': 'rls-8',
  views: 'rls-12',
  'materialized views': 'rls-13',
  functions: 'rls-14',
  rules: 'rls-14',
  'other tables': 'rls-13',
}

/** The rules that {@link rlsFindings} looks at. */
export const RLS_RULES: readonly RuleId[] = [
  ...new Set<RuleId>([...Object.values(RULES), 'rls-6', 'rls-7', 'rls-10', 'rls-15']),
]

/** Everything that the catalogue has against the shared schema. */
export async function rlsFindings(query: Query, at: SharedSchema): Promise<Finding[]> {
  return [
    ...(await inspect(query, at)).map(translated),
    ...(await strangerPolicies(query, at)),
    ...(await leakyIndexes(query, at)),
  ]
}

function translated({ rule, object, detail, severity }: RlsFinding): Finding {
  const id = rule === 'policies' && severity === 'warning' ? 'rls-15' : RULES[rule]
  return finding(id, object, detail, severity === 'breach' ? 'error' : 'warning')
}

interface StrangerPolicy {
  readonly name: string
  readonly table: string
  readonly bare: boolean
  readonly cast: boolean
}

/** Policies that are not ours and cost more than they need. Known by their text, as PostgreSQL writes it. */
async function strangerPolicies(query: Query, { schema, column }: SharedSchema): Promise<Finding[]> {
  const found = await query<StrangerPolicy>(
    `select polname::text as name, relname::text as table,
       rule ~ 'current_setting' and rule !~* 'select[^;]*current_setting' as bare,
       rule ~ ('\\(?"?' || $2 || '"?\\)?::') as cast
     from (select p.polname, c.relname, coalesce(pg_catalog.pg_get_expr(p.polqual, p.polrelid), '') || ';' || coalesce(pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid), '') as rule
       from pg_catalog.pg_policy p join pg_catalog.pg_class c on c.oid = p.polrelid join pg_catalog.pg_namespace n on n.oid = c.relnamespace
       where n.nspname = $1 and not pg_catalog.starts_with(p.polname::text, $3)) policies order by 1, 2`,
    [schema, column, POLICY_PREFIX],
  )
  return found.flatMap(({ name, table, bare, cast }) => [
    ...(bare ? [finding('rls-6', name, `the policy ${name} of ${table} reads a setting for every row`)] : []),
    ...(cast ? [finding('rls-7', name, `the policy ${name} of ${table} casts ${column}`)] : []),
  ])
}

/**
 * Indexes that PostgreSQL does not use under a policy, because what they compare with could tell of rows that are not to be
 * seen: on an expression with a function, or with an operator, that is not leakproof.
 */
async function leakyIndexes(query: Query, { schema }: SharedSchema): Promise<Finding[]> {
  const found = await query<{ name: string; table: string; what: string }>(
    `with indexes as (
       select i.*, x.relname as name, t.relname as "table" from pg_catalog.pg_index i
       join pg_catalog.pg_class x on x.oid = i.indexrelid join pg_catalog.pg_class t on t.oid = i.indrelid
       join pg_catalog.pg_namespace n on n.oid = t.relnamespace where n.nspname = $1 and not x.relispartition
     ), leaks as (
       select i.name, i."table", f.name || '()' as what from indexes i
       cross join lateral (select distinct m[1] as name from pg_catalog.regexp_matches(pg_catalog.pg_get_expr(i.indexprs, i.indrelid), '([a-z_][a-z0-9_]*)\\(', 'g') m) f
       where exists (select from pg_catalog.pg_proc p where p.proname = f.name and not p.proleakproof)
       union all
       select i.name, i."table", 'the operator ' || o.oprname || ' of ' || pg_catalog.format_type(c.opcintype, null) from indexes i
       cross join lateral pg_catalog.unnest(i.indclass::oid[]) k(opclass)
       join pg_catalog.pg_opclass c on c.oid = k.opclass join pg_catalog.pg_am a on a.oid = c.opcmethod
       join pg_catalog.pg_amop s on s.amopfamily = c.opcfamily and s.amoplefttype = c.opcintype and s.amoppurpose = 's'
         and (a.amname not in ('btree', 'hash') or (s.amopstrategy = case a.amname when 'btree' then 3 else 1 end and s.amoprighttype = c.opcintype))
       join pg_catalog.pg_operator o on o.oid = s.amopopr join pg_catalog.pg_proc p on p.oid = o.oprcode
       where not p.proleakproof
     )
     select name::text, "table"::text, pg_catalog.min(what) as what from leaks group by 1, 2 order by 1, 2`,
    [schema],
  )
  return found.map(({ name, table, what }) =>
    finding('rls-10', name, `the index ${name} of ${table} needs ${what}, which is not leakproof`),
  )
}
