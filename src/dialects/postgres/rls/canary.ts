import type { AdminConnection } from '../../../contracts/dialect.ts'
import { quoteIdentifier } from '../quote.ts'
import type { SharedSchema } from './catalogue.ts'
import { inspect } from './findings.ts'

type Query = AdminConnection['query']

/**
 * A table of ours in the shared schema, protected like every other; rows in it never outlive their transaction. Its tenant
 * is a text, which holds every row key.
 */
export const CANARY = '__tenancy_canary'

/** Makes the canary if it is not there. One that is there is left as it is: to verify is not to repair. */
export async function ensureCanary(query: Query, at: SharedSchema): Promise<void> {
  if (await hasCanary(query, at)) return
  const [full, tenant] = [canaryName(at), quoteIdentifier(at.column)]
  await query(
    `create table ${full} (${tenant} text, id integer, parent integer, primary key (${tenant}, id), foreign key (${tenant}, parent) references ${full})`,
  )
  for (const { object, repair } of await inspect(query, at)) {
    if (object === CANARY) for (const statement of repair) await query(statement)
  }
}

/** Whether the canary is there. Read from the table: behind a lock `to_regclass` may still remember that it was not. */
export async function hasCanary(query: Query, { schema }: SharedSchema): Promise<boolean> {
  const text = `select from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname = $1 and c.relname = $2`
  return (await query(text, [schema, CANARY])).length > 0
}

function canaryName({ schema }: SharedSchema): string {
  return `${quoteIdentifier(schema)}.${quoteIdentifier(CANARY)}`
}

/** What a stranger tries on the canary's one row, which has the id 1. */
export interface Attempt {
  readonly name: string
  readonly as: 'its own tenant' | 'another tenant' | 'no tenant'
  /** `$1` is the tenant of the row; the last statement is the one that is judged. */
  readonly statements: readonly string[]
  /** How many rows it must give, or the SQLSTATE with which it must fail. */
  readonly expected: number | '42501' | '23503'
}

/** The attempts, those that must succeed first: where nothing can be read, nothing is proven by reading nothing. */
export function attempts(at: SharedSchema): readonly Attempt[] {
  const [full, tenant] = [canaryName(at), quoteIdentifier(at.column)]
  const statements = {
    read: `select from ${full}`,
    update: `update ${full} set id = id + 1 returning 1`,
    delete: `delete from ${full} returning 1`,
    insert: `insert into ${full} (${tenant}, id) values ($1::text, 2)`,
    upsert: `insert into ${full} (${tenant}, id) values ($1::text, 1) on conflict (${tenant}, id) do update set id = 3`,
    move: `update ${full} set ${tenant} = $1::text where id = 4 returning 1`,
  }
  const reads = (as: Attempt['as'], expected: number): Attempt[] =>
    (['read', 'update', 'delete'] as const).map((verb) => ({
      name: `${as}: ${verb}`,
      as,
      statements: [statements[verb]],
      expected,
    }))
  const refused = (as: Attempt['as'], name: string, ...tried: string[]): Attempt => ({
    name: `${as}: ${name}`,
    as,
    statements: tried,
    expected: '42501',
  })
  const mine = `insert into ${full} (id) values (4)`
  return [
    ...reads('its own tenant', 1),
    ...reads('another tenant', 0),
    refused('another tenant', 'insert', statements.insert),
    refused('another tenant', 'upsert', statements.upsert),
    refused('another tenant', 'move a row', mine, statements.move),
    {
      name: 'another tenant: refer to it',
      as: 'another tenant',
      statements: [`insert into ${full} (id, parent) values (5, 1)`],
      expected: '23503',
    },
    refused('another tenant', 'truncate', `truncate ${full}`),
    refused('another tenant', 'switch policies off', `alter table ${full} disable row level security`),
    ...reads('no tenant', 0),
    refused('no tenant', 'insert', mine),
    refused('no tenant', 'insert for a tenant', statements.insert),
  ]
}

/** What puts the row there, as its tenant. */
export function canaryRow(at: SharedSchema): string {
  return `insert into ${canaryName(at)} (id) values (1)`
}
