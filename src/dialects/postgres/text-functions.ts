import type { AdminConnection } from '../../contracts/dialect.ts'

/**
 * Of `pg_proc p`: functions of PostgreSQL's own extensions that run any text they are given, also SET and several statements (`xml2`,
 * `dblink`). By the name in C, which stays when one is renamed. Others, such as `crosstab`, run what only reads, which SET is not.
 */
export const RUNS_TEXT = `p.prolang = (select oid from pg_catalog.pg_language where lanname = 'c') and (p.prosrc = 'xpath_table' or p.prosrc ^@ 'dblink')`

/** What a role may call, asked of the database. */
interface Callable {
  readonly query: AdminConnection['query']
  /** The role, as an SQL literal or expression; `'public'` stands for everybody. */
  readonly who: string
}

/** Signatures of functions that are known to run any text, and that `who` can call. */
export function textFunctions({ query, who }: Callable): Promise<string[]> {
  return namesOf(
    query,
    `select pg_catalog.format('%I.%I(%s)', n.nspname, p.proname, pg_catalog.pg_get_function_identity_arguments(p.oid)) as name
     from ${callable(who)} and ${RUNS_TEXT} order by 1`,
  )
}

/**
 * Names of functions that `who` can call and that may run with the rights of an owner, or text they are given. Seen by their words only,
 * and in languages whose words we do not know by nothing at all.
 */
export function suspiciousFunctions({ query, who }: Callable): Promise<string[]> {
  return namesOf(
    query,
    `select distinct pg_catalog.format('%s.%s', n.nspname, p.proname) as name from ${callable(who)}
       and (p.prosecdef or l.lanname not in ('c', 'internal', 'sql', 'plpgsql') or (l.lanname = 'plpgsql' and p.prosrc ~* '\\mexecute\\M')) order by 1 limit 10`,
  )
}

/** What came with the server has a lower oid. */
const FIRST_MADE_OID = 16384

function callable(who: string): string {
  return `pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace join pg_catalog.pg_language l on l.oid = p.prolang
     where p.oid >= ${FIRST_MADE_OID} and pg_catalog.has_schema_privilege(${who}::name, n.oid, 'USAGE')
       and pg_catalog.has_function_privilege(${who}::name, p.oid, 'EXECUTE')`
}

async function namesOf(query: Callable['query'], text: string): Promise<string[]> {
  return (await query<{ name: string }>(text)).map(({ name }) => name)
}
