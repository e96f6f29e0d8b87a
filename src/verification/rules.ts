import type { Finding, Severity } from '../contracts/verification.ts'

/** A rule of the doctor: how bad a breach is, what must hold, what to do when it does not. */
type Rule = readonly [severity: Severity, holds: string, cure: string]

/**
 * The one table of rules. `rls-N` and `schema-N` have the numbers of docs/doctor.md, which lists those too that no
 * catalogue can tell; a test compares both directions. A finding may be milder than its rule.
 */
export const rules = {
  'rls-1': [
    'error',
    'The serving role is bound by row policies, and can become nobody who is not.',
    'Serve with a role made by `fastify-tenancy roles`.',
  ],
  'rls-2': [
    'error',
    'Row security is enabled and forced on every shared table.',
    'Run the migrations: they put it right.',
  ],
  'rls-3': [
    'error',
    'Every shared table has our two policies, for reading and writing.',
    'Run the migrations: they make them anew.',
  ],
  'rls-4': [
    'warning',
    'The tenant column fills itself from the current tenant.',
    'Run the migrations: they set the default.',
  ],
  'rls-6': [
    'info',
    'Policies of yours read the tenant in a sub-select, once for a statement and not once for a row.',
    "Write `(select current_setting('app.current_tenant', true))`.",
  ],
  'rls-7': [
    'info',
    'Policies of yours do not cast the tenant column, or its index is lost.',
    'Cast the setting, not the column.',
  ],
  'rls-8': [
    'warning',
    'The tenant is not null, and is in every key and first in an index.',
    'Begin keys and indexes with the tenant column.',
  ],
  'rls-9': [
    'error',
    'Every foreign key has the tenant on both sides.',
    'Add the tenant column to both sides of the key.',
  ],
  'rls-10': [
    'info',
    'Indexes can be used under row policies: their operators and functions are leakproof.',
    'Store the normalised value in a column and index (tenant, column).',
  ],
  'rls-11': [
    'error',
    'Nobody who serves may TRUNCATE, REFERENCE or TRIGGER: policies do not govern these.',
    'Run the migrations: they revoke it.',
  ],
  'rls-12': [
    'error',
    'Views of shared tables have the rights of who asks (`security_invoker`).',
    'Run `alter view … set (security_invoker = true)`, or revoke it from the serving role.',
  ],
  'rls-13': [
    'error',
    'No materialized view, foreign table, partition or heir elsewhere shows shared rows to who serves.',
    'Revoke it from the serving role, or move it into the shared schema.',
  ],
  'rls-14': [
    'error',
    'Nothing that who serves can use runs with the rights of its owner.',
    'Drop the function or rule, make it SECURITY INVOKER, or revoke EXECUTE.',
  ],
  'rls-15': [
    'warning',
    'There are no other permissive policies: with our restrictive one they can only narrow.',
    'Drop the policy, or make it restrictive to say what it does.',
  ],
  'rls-17': [
    'warning',
    'The server has the fixes of what leaked rows through statistics and plans.',
    'Update to 13.22, 14.19, 15.14, 16.10, 17.6 or later.',
  ],
  'rls-18': [
    'error',
    'No role and no database has a tenant by default: it is set for one transaction.',
    'Run `alter role … reset "app.current_tenant"`, and the same for the database.',
  ],
  'rls-24': [
    'error',
    'Every shared table has the tenant column, and rows for who serves.',
    'Make tables with migrations, and with the tenant column.',
  ],
  'rls-25': [
    'warning',
    '`row_security` is on for who serves: off makes every statement fail, it does not show more.',
    'Run `alter role … reset row_security`, and the same for the database.',
  ],
  'schema-1': [
    'error',
    'Without a tenant the search path is empty: `public` is on nobody’s.',
    'Run the script of `fastify-tenancy roles`.',
  ],
  'schema-2': [
    'warning',
    'Every schema that is named like a tenant’s is marked as one.',
    'Find out who made it; such a name is never taken over silently.',
  ],
  'schema-3': [
    'warning',
    'Who serves cannot make temporary tables, which could stand in for others.',
    'Run the script of `fastify-tenancy roles`.',
  ],
  'schema-4': [
    'error',
    'Who serves can neither create in `public` nor use it.',
    'Run the script of `fastify-tenancy roles`.',
  ],
  'schema-5': [
    'warning',
    'Extensions are in a schema of their own, in which who serves cannot create.',
    'Run `alter extension … set schema extensions`.',
  ],
  'schema-11': [
    'warning',
    'A pooler in transaction mode is told by the option `pooler`.',
    'Set `pooler: "transaction"` (TENANCY_POOLER).',
  ],
  'schema-15': [
    'error',
    'One role does DDL, another one serves.',
    'Set adminDatabaseUrl, and serve with a role made by `fastify-tenancy roles`.',
  ],
  'schema-17': [
    'warning',
    'There are locks for all tables at once, which pg_dump needs.',
    'Raise max_locks_per_transaction, or dump schema by schema.',
  ],
  'base-1': [
    'warning',
    'Who serves reaches nothing without a tenant: no registry, large objects, statistics, statements of others, all-data roles.',
    'Run the script of `fastify-tenancy roles`.',
  ],
  'base-2': [
    'warning',
    'Default privileges give who serves, and everybody, no more than rows in the schemas of tenants.',
    'Take them back with `alter default privileges … revoke …`.',
  ],
  'base-3': [
    'warning',
    'The admin role can make, copy and drop databases of tenants.',
    'Run the script of `fastify-tenancy roles --databases`, and use a template that it was run in.',
  ],
  'mysql-1': [
    'error',
    'The serving account has no rights but those on rows of tenants, and cannot pass them on.',
    'Revoke them; the library grants what a tenant needs.',
  ],
  'mysql-2': [
    'error',
    'One account does DDL, another one serves.',
    'Set adminDatabaseUrl, and serve with an account of its own.',
  ],
  'mysql-3': [
    'error',
    'Grants of the serving account name one database each: `_` and `%` in them are escaped.',
    'Revoke the grant; the library makes one for each database.',
  ],
  'mysql-4': [
    'info',
    'No other client reads text otherwise than we do: ANSI_QUOTES and NO_BACKSLASH_ESCAPES are off on the server.',
    'Take them out of the global sql_mode. Our own connections set theirs.',
  ],
  'mysql-5': [
    'warning',
    'Names are told apart as they are written: lower_case_table_names is 0 or 1.',
    'Set it to 0 or 1 when the server is made.',
  ],
  'mysql-6': [
    'warning',
    'Tables of tenants have transactions and foreign keys: their engine is InnoDB.',
    'Run `alter table … engine = InnoDB`.',
  ],
  'mssql-1': [
    'error',
    'The serving login has rows of tenants and nothing else: no role, no right on server, database or schema, and nobody to become.',
    'Revoke it; the library grants what a tenant needs.',
  ],
  'mssql-2': [
    'error',
    'One login does DDL, another one serves.',
    'Set adminDatabaseUrl, and serve with a login of its own.',
  ],
  'mssql-3': [
    'error',
    'Every shared table has our security policy in force, with a filter and a block predicate for every operation.',
    'Run the migrations: they make it anew.',
  ],
  'mssql-4': [
    'error',
    'Every shared table has the tenant column, and no copy of its rows beside it: a history, memory, captured changes.',
    'Make tables with migrations; give captured changes a gating role.',
  ],
  'mssql-5': [
    'warning',
    'The tenant column is not null, fills itself, and is first in an index.',
    'Run the migrations: they set it.',
  ],
  'mssql-6': ['warning', 'Every unique index has the tenant column.', 'Begin keys and indexes with the tenant column.'],
  'mssql-7': [
    'error',
    'Every foreign key of shared tables has the tenant on both sides, and none ties a tenant to others.',
    'Add the tenant column to both sides of the key, or drop it.',
  ],
  'mssql-8': [
    'error',
    'Nothing that tenants have or who serves can use runs as somebody else (EXECUTE AS), and no code is where tenants share tables.',
    'Drop the routine, trigger or synonym.',
  ],
  'mssql-9': [
    'error',
    'No view or routine elsewhere shows tables of tenants to who serves: of one owner, nobody asks for rights on the table.',
    'Drop it, or revoke it from the serving login.',
  ],
  'mssql-10': [
    'error',
    'No code of other databases has rights in those of tenants: DB_CHAINING and TRUSTWORTHY are off, on the server too.',
    'Run `alter database … set db_chaining off` and `… set trustworthy off`.',
  ],
  'mssql-11': [
    'warning',
    'Without a tenant a plain name finds nothing: the default schema and `dbo` are empty for who serves.',
    'Move it, or revoke it from the serving login.',
  ],
  'mssql-12': [
    'warning',
    'Every schema that is named like a tenant’s is marked as one.',
    'Find out who made it; such a name is never taken over silently.',
  ],
  'sqlite-1': [
    'warning',
    'Nobody but the owner can read the files: SQLite has no roles, so rights on files are the only ones.',
    'Run chmod 600 on files, 700 on folders.',
  ],
  'sqlite-2': [
    'warning',
    'The main file has a write-ahead log, so that readers and the writer do not wait for each other.',
    'Put it on a local file system, and set `pragma journal_mode = wal`.',
  ],
  'sqlite-3': ['error', 'Foreign keys hold in the main file.', 'Find the rows with `pragma foreign_key_check`.'],
  'sqlite-4': [
    'warning',
    'There is nothing in the folder of the tenants but their files.',
    'Move it elsewhere; links are never followed.',
  ],
} as const satisfies Readonly<Record<string, Rule>>

/** The id of a rule. */
export type RuleId = keyof typeof rules

/** Something that a rule has against an object; `severity` where it is milder than the rule. */
export function finding(rule: RuleId, object: string, detail: string, severity: Severity = rules[rule][0]): Finding {
  return Object.freeze({ rule, severity, object, detail, cure: rules[rule][2] })
}
