import type { AdminConnection } from '../../../contracts/dialect.ts'
import { quoteIdentifier } from '../quote.ts'
import { cascadedCode } from './cascades.ts'
import { foreignKeys, oracles, type SharedSchema, sharedTables, ungrantedViews } from './catalogue.ts'
import { definerFunctionsElsewhere, type Passage, passages } from './passages.ts'
import { tableFindings } from './table-findings.ts'

/** What is asked of the shared schema. */
export const RULES = [
  'tenant column',
  'owner',
  'enabled',
  'forced',
  'policies',
  'required',
  'rights',
  'default',
  'index',
  'grants',
  'foreign keys',
  'unique keys',
  'views',
  'materialized views',
  'functions',
  'rules',
  'other tables',
] as const

/** Something in the shared schema that is not as it must or should be. */
export interface Finding {
  /** The table, view, key or function. */
  readonly object: string
  readonly rule: (typeof RULES)[number]
  /** One sentence that names the object. */
  readonly detail: string
  /** `breach`: rows of another tenant could be read, written or referred to. `warning`: they could not. */
  readonly severity: 'breach' | 'warning'
  /** Statements that put it right; none where only whoever made the object can. */
  readonly repair: readonly string[]
}

type Query = AdminConnection['query']

const PASSAGE_RULES = {
  view: 'views',
  'materialized view': 'materialized views',
  'foreign table': 'other tables',
  table: 'other tables',
  function: 'functions',
  rule: 'rules',
} as const satisfies Record<Passage['kind'], Finding['rule']>

/** Everything that is wrong in the shared schema, read from the catalogue. Changes nothing. */
export async function inspect(query: Query, at: SharedSchema): Promise<Finding[]> {
  const tables = await sharedTables(query, at)
  return [
    ...tables.flatMap((table) => tableFindings(table, at)),
    ...(await keyFindings(query, at)),
    ...(await passages(query, at)).map((passage) => passageFinding(passage, at)),
    ...(await cascadedCode(query, at)).map(({ table, key, kind, name }) =>
      finding('breach', name, 'functions', `the ${kind} ${name} ${cascade(table, key, kind)}`),
    ),
    ...(await definerFunctionsElsewhere(query, at)).map(({ schema, name }) =>
      finding('warning', name, 'functions', `the function ${schema}.${name} runs with the rights of its owner`),
    ),
    // With the rights of whoever asks, a view shows what its tables show.
    ...(await ungrantedViews(query, at)).map((name) =>
      finding('warning', name, 'grants', `the serving role cannot use the view ${name}`, [
        `grant select, insert, update, delete on ${fullName(at.schema, name)} to ${quoteIdentifier(at.role ?? '')}`,
      ]),
    ),
  ]
}

function cascade(table: string, key: string, kind: 'trigger' | 'function'): string {
  const cure = kind === 'trigger' ? 'make it an AFTER trigger' : 'declare it IMMUTABLE if it reads no table'
  return `runs past the policies when the foreign key ${key} changes rows of ${table}: ${cure}, or let the key neither cascade nor set`
}

async function keyFindings(query: Query, at: SharedSchema): Promise<Finding[]> {
  const loose = (await foreignKeys(query, at)).filter(({ withTenant, toShared }) => !withTenant && !toShared)
  return [
    ...loose.map(({ name, child, parent }) =>
      finding(
        'breach',
        name,
        'foreign keys',
        `the foreign key ${name} from ${child} to ${parent} could refer to a row of another tenant: add ${at.column} to both sides`,
      ),
    ),
    ...(await oracles(query, at)).map(({ table, index }) =>
      finding(
        'warning',
        index,
        'unique keys',
        `the unique key ${index} of ${table} has no ${at.column}: its error tells one tenant what another one has`,
      ),
    ),
  ]
}

/** What is in the shared schema is ours to put right; elsewhere it is only named. */
function passageFinding({ schema, name, kind }: Passage, at: SharedSchema): Finding {
  const inside = schema === at.schema
  const full = fullName(schema, name)
  const shown = inside ? name : `${schema}.${name}`
  const repairs: Partial<Record<Passage['kind'], string[]>> = {
    view: [`alter view ${full} set (security_invoker = true)`],
    // It holds the rows of all tenants and takes no policy.
    'materialized view': [
      `revoke all on ${full} from public${at.role === null ? '' : `, ${quoteIdentifier(at.role)}`}`,
    ],
  }
  const detail = `the ${kind} ${shown} shows or changes rows beside the policies`
  return finding('breach', name, PASSAGE_RULES[kind], detail, inside ? (repairs[kind] ?? []) : [])
}

function finding(
  severity: Finding['severity'],
  object: string,
  rule: Finding['rule'],
  detail: string,
  repair: readonly string[] = [],
): Finding {
  return { object, rule, detail, severity, repair }
}

function fullName(schema: string, name: string): string {
  return `${quoteIdentifier(schema)}.${quoteIdentifier(name)}`
}
