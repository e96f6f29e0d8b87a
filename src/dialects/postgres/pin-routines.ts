import type { AdminConnection } from '../../contracts/dialect.ts'
import type { Layout } from './layout.ts'
import { quoteIdentifier } from './quote.ts'

/**
 * Gives every function and procedure of a schema that schema as its own path. Its body is text that is read when it runs, on
 * the path of whoever calls. Where tenants are not on the path, it would find nothing; and what a foreign key changes,
 * PostgreSQL changes with the rights of the owner: a trigger or CHECK that this runs would look into whatever schema a tenant
 * has put on the path, and the owner's rights are those on all of them. Idempotent.
 */
export async function pinRoutines(query: AdminConnection['query'], { schema, ddlPath }: Layout): Promise<void> {
  const loose = await query<{ routine: string }>(
    `select p.oid::regprocedure::text as routine from pg_catalog.pg_proc p
     where p.pronamespace = (select oid from pg_catalog.pg_namespace where nspname = $1) and p.prokind in ('f', 'p')
       and p.prosqlbody is null and pg_catalog.pg_has_role(p.proowner, 'USAGE')
       and not exists (select from pg_catalog.unnest(p.proconfig) setting where pg_catalog.starts_with(setting, 'search_path='))`,
    [schema],
  )
  const path = ddlPath.map(quoteIdentifier).join(', ')
  for (const { routine } of loose) await query(`alter routine ${routine} set search_path to ${path}`)
}
