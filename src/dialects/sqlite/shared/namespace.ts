import type { Scope } from '../../../contracts/isolation.ts'
import type { SharedNamespace, SharedTables } from '../../../contracts/shared-tables.ts'
import { tenancyError } from '../../../errors.ts'
import { SHARED_TOKEN } from '../../../sql/scoped-text.ts'
import { textScoped } from '../capabilities.ts'
import { parseSharedDdl } from '../ddl.ts'
import { type Layout, sharedNaming } from '../layout.ts'
import { type NamespaceTransaction, objectsOf, openNamespaceSession } from '../namespace-session.ts'
import { refuseChangingKeys } from './misuse.ts'
import { doorOf, setTriggers, triggersOf } from './read-only.ts'

/** What {@link sharedNamespace} needs of the server. */
export interface SharedNamespaceOptions {
  /** One transaction on the main file, alone. */
  inMainFile<T>(work: (transaction: NamespaceTransaction) => Promise<T>): Promise<T>
  /** Told when tenants can no longer write what they only read. */
  sealed(): void
}

/** The tables of the main file that all tenants use. Where a tenant has a file of its own, it cannot see them. */
export function sharedNamespace(shared: SharedTables, { inMainFile, sealed }: SharedNamespaceOptions): SharedNamespace {
  const { schema } = shared
  const layout: Layout = Object.freeze({ own: false, naming: sharedNaming(schema) })
  const scope: Scope = { tenantId: 'shared', server: 'main', namespace: schema, strategy: 'prefix', settings: {} }
  return Object.freeze({
    scope: Object.freeze(scope),
    reach: textScoped,
    qualifier: SHARED_TOKEN,
    async inNamespace(_scope, work) {
      const result = await inMainFile((transaction) => {
        const session = openNamespaceSession(transaction, scope, layout)
        return work({
          ...session,
          async run(statement) {
            // Its own migrations change rows, and rename what triggers speak of. Nobody sees it before they are back.
            await setTriggers(transaction, shared, [])
            await session.run(statement)
          },
          async seal() {
            await session.seal()
            await seal(transaction, layout, shared)
          },
        })
      })
      sealed()
      return result
    },
    parseDdl: (statement) => parseSharedDdl(statement, schema),
  } satisfies SharedNamespace)
}

async function seal(transaction: NamespaceTransaction, layout: Layout, shared: SharedTables): Promise<void> {
  const { query, run } = transaction
  const { prefix } = layout.naming
  const objects = await objectsOf(query, layout)
  const readOnly: string[] = []
  for (const name of shared.names) {
    const found = objects.find((object) => object.name === prefix + name && ['table', 'view'].includes(object.type))
    const writable = shared.writable.includes(name)
    if (found === undefined) throw refusal(`${name} is not made by \`sharedMigrations\``)
    const columns = await query('select 1 from pragma_table_info(?) where lower(name) = lower(?)', [
      prefix + name,
      shared.tenantColumn,
    ])
    if (columns.length > 0) {
      throw refusal(`${name} has the column ${shared.tenantColumn}, and every tenant would read all its rows`)
    }
    if (writable && found.type === 'view') throw refusal(`${name} is writable and no table`)
    if (!writable && found.type === 'table') readOnly.push(name)
  }
  await refuseChangingKeys(query, shared, '')
  await run(doorOf(shared).make)
  await setTriggers(
    transaction,
    shared,
    readOnly.flatMap((name) => triggersOf(shared, name)),
  )
}

function refusal(reason: string): Error {
  return tenancyError('TENANCY_ERR_SHARED_TABLES', [reason])
}
