import { tenancyError } from '../errors.ts'
import { TENANT_TOKEN } from './scoped-text.ts'

/*
 * Drizzle keeps the schema of a table in a plain property under a registered symbol, and that of a view in a config under
 * another; both are the same in drizzle-orm 0.45 and 1.0. Nothing of Drizzle is imported here.
 */

const kIsTable = Symbol.for('drizzle:IsDrizzleTable')
const kTableSchema = Symbol.for('drizzle:Schema')
const kTableName = Symbol.for('drizzle:Name')
const kViewConfig = Symbol.for('drizzle:ViewBaseConfig')

/**
 * Makes the user's tables and views speak of the tenant: their SQL says `"__tenant__"."orders"` from now on, in the whole
 * process, which the driver of a tenant turns into that tenant's own table. Idempotent. Everything that is neither table
 * nor view is left alone, and so is a table that names a schema itself: it is shared by all.
 * @param schema what `import * as schema` gives
 * @returns how many tables and views are adopted
 * @throws TENANCY_ERR_CONFIG_INVALID when there is no table in it
 */
export function adoptTables(schema?: Readonly<Record<string, unknown>>): number {
  let adopted = 0
  for (const candidate of Object.values(schema ?? {})) {
    if (typeof candidate !== 'object' || candidate === null) continue
    const place = schemaPlaceOf(candidate)
    if (place === undefined) continue
    const { holder, key } = place
    if (holder[key] === undefined) holder[key] = TENANT_TOKEN
    if (holder[key] === TENANT_TOKEN) adopted++
  }
  if (adopted === 0) {
    throw tenancyError('TENANCY_ERR_CONFIG_INVALID', [
      `- schema: ${schema === undefined ? 'missing' : 'no table of yours is in it'}, and this isolation strategy writes names into their SQL. Hand in your tables, all that your schema file exports.`,
    ])
  }
  return adopted
}

/** Whether any instance of this process shares tables, and which. */
let anyShared = false
const sharedHolders = new WeakSet<object>()
/** What is of each tenant to some instance. */
const ownHolders = new WeakSet<object>()
/** Apps that did not say which their tables are, and so share none. */
const unseen = new Set<object>()

/** Notes that an app has tables which nobody showed: none that another one shares may be among them. */
export function noteUnseen(app: object): void {
  unseen.add(app)
}

/** It is closed. */
export function forgetUnseen(app: object): void {
  unseen.delete(app)
}

/**
 * Notes that all in `schema` but these names is of each tenant. A table that another instance of this process shares is
 * shared wherever it is used: all tenants of this one would read and write the same rows.
 * @param shared the tables that this instance shares itself
 * @throws TENANCY_ERR_CONFIG_INVALID when there is such a table in `schema`, or could be where `schema` is missing
 */
export function assertUnshared(schema: Readonly<Record<string, unknown>> | undefined, shared: readonly string[]): void {
  if (schema === undefined && shared.length === 0 && anyShared) {
    throw tenancyError('TENANCY_ERR_CONFIG_INVALID', [
      '- schema: missing, and another instance of this process has shared tables, which would be shared here too. Hand in your tables.',
    ])
  }
  for (const { name, holder } of placesOf(schema)) {
    if (shared.includes(name)) continue
    if (sharedHolders.has(holder)) {
      throw tenancyError('TENANCY_ERR_CONFIG_INVALID', [
        `- schema: another instance of this process shares the table ${name}, so that all tenants of this one would have it in common. Name it in \`sharedTables\` here too, or make it anew.`,
      ])
    }
    ownHolders.add(holder)
  }
}

/**
 * Makes the tables and views of these names speak of the namespace that all tenants share: their SQL says
 * `"shared"."plans"` from now on, in the whole process, whoever asks. Idempotent. To be called before
 * {@link adoptTables}, which leaves them alone then.
 * @param qualifier what stands before their names
 * @throws TENANCY_ERR_CONFIG_INVALID when a name is not in `schema`, stands for two tables, or for one elsewhere
 */
export function shareTables(
  schema: Readonly<Record<string, unknown>> = {},
  names: readonly string[],
  qualifier: string,
): void {
  const places = placesOf(schema)
  for (const name of names) {
    // Names are compared without case: to some databases that is one table. One elsewhere is another.
    const [only, twin] = places.filter(
      ({ name: other, holder, key }) =>
        other.toLowerCase() === name.toLowerCase() &&
        [undefined, qualifier, TENANT_TOKEN].includes(holder[key] as string),
    )
    if (only?.name !== name) throw unshareable(`no table ${name} is in \`schema\`. Hand in all your tables`)
    if (twin !== undefined) throw unshareable(`${name} is the name of two tables in \`schema\`. Rename one`)
    if (unseen.size > 0) {
      throw unshareable(
        `another app of this process without \`schema\` may have the table ${name} per tenant. Hand in its tables`,
      )
    }
    if (only.holder[only.key] === TENANT_TOKEN || ownHolders.has(only.holder)) {
      throw unshareable(`the table ${name} is one of each tenant to another instance of this process`)
    }
    only.holder[only.key] = qualifier
    sharedHolders.add(only.holder)
    anyShared = true
  }
}

function placesOf(schema: Readonly<Record<string, unknown>> = {}): SchemaPlace[] {
  return [...new Set(Object.values(schema))].flatMap((candidate) =>
    typeof candidate === 'object' && candidate !== null ? (schemaPlaceOf(candidate) ?? []) : [],
  )
}

function unshareable(reason: string): Error {
  return tenancyError('TENANCY_ERR_CONFIG_INVALID', [`- sharedTables: ${reason}.`])
}

interface SchemaPlace {
  readonly name: string
  readonly holder: Record<PropertyKey, unknown>
  readonly key: PropertyKey
}

/** Where a table or view keeps the name of its schema. */
function schemaPlaceOf(candidate: object): SchemaPlace | undefined {
  const name: unknown = Reflect.get(candidate, kIsTable) === true ? Reflect.get(candidate, kTableName) : undefined
  if (typeof name === 'string') {
    return { name, holder: candidate as Record<PropertyKey, unknown>, key: kTableSchema }
  }
  // A view is a proxy that makes a column of every property; its descriptors are its own.
  const config: unknown = Object.getOwnPropertyDescriptor(candidate, kViewConfig)?.value
  if (typeof config !== 'object' || config === null) return undefined
  const holder = config as Record<PropertyKey, unknown>
  return { name: String(holder['name']), holder, key: 'schema' }
}
