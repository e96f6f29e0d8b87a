import type { AdminConnection } from '../../../contracts/dialect.ts'
import type { Attempt, Outcome, Who } from '../../../verification/canary.ts'
import { fullName } from '../objects.ts'
import { mssqlProfile } from '../profile.ts'
import { predicates, type SharedSchema, sharedTables } from './catalogue.ts'
import { policyName } from './policy.ts'
import { repairs, type TenantTable } from './protect.ts'

type Query = AdminConnection['query']

/** A table of ours in the shared schema, protected like every other; rows in it never outlive their transaction. */
export const CANARY = '__tenancy_canary'

/** Makes the canary if it is not there. One that is there is left as it is: to verify is not to repair. */
export async function ensureCanary(query: Query, at: SharedSchema, servingUser: string | undefined): Promise<void> {
  const canary = async () => (await sharedTables(query, at)).find(({ name }) => name === CANARY)
  if ((await canary()) !== undefined) return
  const [full, tenant] = [canaryName(at), mssqlProfile.quoteName(at.column)]
  await query(
    `create table ${full} (${tenant} nvarchar(36) not null, id int not null, parent int, primary key (${tenant}, id), ` +
      `foreign key (${tenant}, parent) references ${full} (${tenant}, id))`,
  )
  const made = (await canary()) as TenantTable
  const functions = await query<{ name: string }>('select name from sys.objects where schema_id = schema_id(@p0)', [
    at.layout.schema,
  ])
  const lacking = repairs(made, at, await predicates(query, at), new Set(functions.map(({ name }) => name)))
  for (const statement of lacking) await query(statement)
  if (servingUser === undefined) return
  await query(`grant select, insert, update, delete on ${full} to ${mssqlProfile.quoteName(servingUser)}`)
}

function canaryName({ layout }: SharedSchema): string {
  return fullName(layout, CANARY)
}

/** What puts the row there, as its tenant. */
export function canaryRow(at: SharedSchema): string {
  return `insert into ${canaryName(at)} (id) values (1)`
}

/**
 * What is tried on the canary's one row, which has the id 1; `@p0` is its tenant. Those that must succeed come first: where
 * nothing can be read, nothing is proven by reading nothing.
 */
export function rowAttempts(at: SharedSchema): readonly Attempt[] {
  const [full, tenant] = [canaryName(at), mssqlProfile.quoteName(at.column)]
  const policy = fullName(at.layout, policyName(CANARY))
  const read = `select id from ${full}`
  const insert = `insert into ${full} (${tenant}, id) values (@p0, 2)`
  const upsert =
    `merge ${full} as t using (select @p0 as owner) as s on t.${tenant} = s.owner and t.id = 1 ` +
    `when matched then update set parent = null when not matched then insert (${tenant}, id) values (s.owner, 3);`
  const mine = `insert into ${full} (id) values (4)`
  const move = `update ${full} set ${tenant} = @p0 where id = 4`
  const attempt = (who: Who, what: string, expected: Outcome, ...statements: string[]): Attempt => ({
    who,
    what,
    statements,
    expected: [expected],
  })
  const rows = (who: Who, expected: number) => [
    attempt(who, 'read', expected, read),
    attempt(who, 'update', expected, `update ${full} set parent = null`),
    attempt(who, 'delete', expected, `delete from ${full}`),
  ]
  return [
    ...rows('its own tenant', 1),
    attempt('its own tenant', 'refer to a row', 1, `insert into ${full} (id, parent) values (5, 1)`),
    ...rows('another tenant', 0),
    attempt('another tenant', 'insert', 'not allowed', insert),
    attempt('another tenant', 'upsert', 'not allowed', upsert),
    attempt('another tenant', 'move a row', 'not allowed', mine, move),
    attempt('another tenant', 'refer to it', 'refers to nothing', `insert into ${full} (id, parent) values (5, 1)`),
    attempt('another tenant', 'truncate', 'not allowed', `truncate table ${full}`),
    attempt(
      'another tenant',
      'switch policies off',
      'not allowed',
      `alter security policy ${policy} with (state = off)`,
    ),
    ...rows('no tenant', 0),
    attempt('no tenant', 'insert', 'not allowed', mine),
    attempt('no tenant', 'insert for a tenant', 'not allowed', insert),
  ]
}
