import { randomUUID } from 'node:crypto'
import type { DatabaseServer } from '../contracts/dialect.ts'
import type { IsolationStrategy } from '../contracts/isolation.ts'
import type { Adoption, AdoptionSession, Migration } from '../contracts/migrator.ts'
import type { TenantStore } from '../contracts/store.ts'
import type { NewTenant, StrategyName, Tenant } from '../contracts/tenant.ts'
import { isTenancyError, tenancyError } from '../errors.ts'
import { migrateNamespace } from '../migrations/runner.ts'
import { checkMetadata } from '../tenants/tenant-input.ts'
import type { TenantMetadata } from '../tenants/tenant-metadata.ts'
import { assertFields } from '../util/fields.ts'
import { assertRegistrable, quoteReceived } from '../util/identifier.ts'

/** A tenant to be. */
export interface Registration {
  /** 3 to 63 characters: a lower-case letter, then letters, digits and hyphens; not reserved. */
  readonly identifier: string
  /** 1 to 255 characters. Default: the identifier. */
  readonly name?: string
  /** Free notes of the application. Default empty. */
  readonly metadata?: Readonly<Record<string, unknown>>
  /** The isolation strategy, where several are configured. Default: what the configuration chooses. */
  readonly strategy?: StrategyName
  /** `main` or an entry of `servers`. Default: what `chooseServer` says, else `main`. A tenant that exists stays where it is. */
  readonly server?: string
  /**
   * What the tenant column of shared tables holds in this tenant's rows, such as the `42` of an application that has been
   * counting its customers: 1 to 255 characters. Never changed, never given to another tenant. Default: the tenant's id.
   */
  readonly rowKey?: string
  /**
   * A schema that exists and becomes this tenant's, with all that is in it, under `schema` on PostgreSQL and PGlite. Default: a new one
   * is made, and what exists is never taken.
   */
  readonly adopt?: Adoption
}

/** All of them; anything else is a slip of the pen, and a misspelt wish must not be a tenant in the wrong place. */
const FIELDS: readonly (keyof Registration)[] = [
  'identifier',
  'name',
  'metadata',
  'strategy',
  'server',
  'rowKey',
  'adopt',
]
const ADOPTION: readonly (keyof Adoption)[] = ['namespace', 'baseline']

/** Options of {@link createRegistration}. */
export interface RegistrationOptions {
  readonly store: TenantStore
  readonly strategy: IsolationStrategy
  readonly server: DatabaseServer
  readonly migrations: readonly Migration[]
  readonly reserved: ReadonlySet<string>
  readonly metadata: Pick<TenantMetadata, 'check'>
  readonly initialStatus: 'active' | 'suspended'
}

/** What has a scope. */
type Made = Pick<Tenant, 'id' | 'placement'>

/** How tenants come into being. */
export interface RegistrationService {
  /**
   * Makes a tenant: the row as `provisioning`, which nobody serves; its schema with all migrations in one transaction;
   * then the configured status. A failure leaves nothing behind.
   *
   * With `adopt`, a failure leaves what exists as it was. Once it is adopted `verify()` must find it apart before it is served; until
   * then the tenant stays `provisioning`, `ensure()` with the same `adopt` goes on, and without it throws
   * TENANCY_ERR_ADOPTION_REFUSED. So it is after a 503, when nobody knows whether the transaction was committed.
   */
  register(registration: Registration): Promise<Tenant>
  /** The tenant, made if it does not exist, finished if a crash left it half-made, and migrated. */
  ensure(registration: Registration): Promise<Tenant>
}

/** Builds the {@link RegistrationService}. */
export function createRegistration(options: RegistrationOptions): RegistrationService {
  const { store, strategy, reserved } = options

  const register = async (registration: Registration): Promise<Tenant> => {
    checkRegistration(registration)
    const { identifier, name = identifier, metadata = {}, strategy: asked, server, rowKey, adopt } = registration
    assertRegistrable(identifier, reserved)
    options.metadata.check(checkMetadata(metadata))
    const id = randomUUID()
    const placement = strategy.place({ id, identifier, metadata, strategy: asked, server, rowKey })
    assertAdoptable(options, placement.strategy, adopt)
    const draft: NewTenant = { id, identifier, name, metadata, status: 'provisioning', placement }
    if (adopt !== undefined) await announce(options, draft, adopt)
    const tenant = await store.insert(draft).catch(async (error: unknown) => {
      // Where nobody knows whether there is a row, its place stays too.
      if (adopt !== undefined && !isUnavailable(error)) await abandon(options, draft, adopt)
      throw error
    })
    try {
      await provision(options, tenant, adopt)
    } catch (error) {
      // Nobody knows then whether it was adopted, and `ensure()` goes on.
      if (adopt === undefined || !isUnavailable(error)) await abandon(options, tenant, adopt)
      throw isTenancyError(error) ? error : tenancyError('TENANCY_ERR_PROVISION_FAILED', [], error)
    }
    return publish(options, tenant, adopt)
  }

  const ensure = async (registration: Registration, attempts = 3): Promise<Tenant> => {
    checkRegistration(registration)
    const { identifier, adopt } = registration
    const found = await store.getByIdentifier(identifier)
    try {
      if (found === undefined) return await register(registration)
      return await finish(options, withRowKey(found, registration), adopt)
    } catch (error) {
      if (found === undefined) {
        if (!isTenancyError(error, 'TENANCY_ERR_TENANT_EXISTS')) throw error
        if (attempts === 1 || (await store.getByIdentifier(identifier)) === undefined) throw error
        return ensure(registration, attempts - 1)
      }
      if (adopt === undefined || !isTenancyError(error, 'TENANCY_ERR_TENANT_NOT_FOUND')) throw error
      // Whoever began it has given it up, and may have died before he forgot the tenant.
      await abandon(options, found, adopt)
      if (attempts > 1) return ensure(registration, attempts - 1)
      throw tenancyError('TENANCY_ERR_ADOPTION_REFUSED', [adopt.namespace, 'the tenant is being made without `adopt`'])
    }
  }

  return Object.freeze({ register, ensure: (registration: Registration) => ensure(registration) })
}

/** @throws TENANCY_ERR_TENANT_INVALID for a field that is none, or of another type */
function checkRegistration(registration: Registration): void {
  assertFields('a registration', registration, FIELDS)
  const { adopt } = registration
  if (adopt === undefined) return
  assertFields('`adopt`', adopt, ADOPTION)
  const { namespace, baseline } = adopt as { readonly namespace: unknown; readonly baseline?: unknown }
  if (typeof namespace !== 'string' || namespace === '') throw wrongText('adopt.namespace', namespace)
  if (baseline !== undefined && typeof baseline !== 'string') throw wrongText('adopt.baseline', baseline)
}

function wrongText(field: string, received: unknown) {
  return tenancyError('TENANCY_ERR_TENANT_INVALID', [
    `\`${field}\` must be a text, received ${quoteReceived(received)}`,
  ])
}

/** @throws TENANCY_ERR_ADOPTION_REFUSED where the database, or the strategy, has nothing that could be adopted */
function assertAdoptable({ server }: RegistrationOptions, strategy: StrategyName, adopt: Adoption | undefined): void {
  if (adopt === undefined || server.adopts?.has(strategy) === true) return
  const reason = `with the strategy ${strategy} on this database nothing can be adopted`
  throw tenancyError('TENANCY_ERR_ADOPTION_REFUSED', [adopt.namespace, reason])
}

/** @throws TENANCY_ERR_ADOPTION_REFUSED when what was adopted is not apart from all others; it is not served then */
async function assertApart({ server, strategy }: RegistrationOptions, tenant: Tenant, { namespace }: Adoption) {
  const { ok, checks } = await server.verify(strategy.scope(tenant))
  if (ok) return
  const failed = checks.filter((check) => !check.ok).map(({ name }) => name)
  const reason = `it was adopted, but verify() says no to ${failed.join(', ')}, so it is not served. Mend that, then call ensure() with the same \`adopt\``
  throw tenancyError('TENANCY_ERR_ADOPTION_REFUSED', [namespace, reason])
}

/**
 * The tenant, if its rows are those that are asked for: it would be served the rows of somebody else's key.
 * @throws TENANCY_ERR_TENANT_EXISTS
 */
function withRowKey(tenant: Tenant, { rowKey = tenant.placement.rowKey }: Registration): Tenant {
  if (tenant.placement.rowKey !== rowKey) throw tenancyError('TENANCY_ERR_TENANT_EXISTS')
  return tenant
}

/** Migrates a tenant that exists; one that is half-made is finished, whoever began it. */
async function finish(options: RegistrationOptions, tenant: Tenant, adopt: Adoption | undefined): Promise<Tenant> {
  if (tenant.status !== 'provisioning' && tenant.status !== 'active' && tenant.status !== 'suspended') {
    throw tenancyError('TENANCY_ERR_STATUS_TRANSITION', [tenant.status, options.initialStatus])
  }
  assertAdoptable(options, tenant.placement.strategy, adopt)
  await provision(options, tenant, adopt)
  return tenant.status === 'provisioning' ? publish(options, tenant, adopt) : confirm(options, tenant)
}

/** Gives a tenant that is complete its first status. Whoever else was finishing it may have come first, and gone on. */
async function publish(options: RegistrationOptions, tenant: Tenant, adopt: Adoption | undefined): Promise<Tenant> {
  const { store, initialStatus } = options
  if (adopt !== undefined) {
    await assertApart(options, tenant, adopt)
    await adopting(options, tenant, ({ accept }) => accept())
  }
  try {
    return await store.setStatus(tenant.id, initialStatus, 'provisioning')
  } catch (error) {
    const now = await confirm(options, tenant)
    if (now.status === 'provisioning') throw error
    return now
  }
}

/**
 * Forgets a tenant that could not be made, unless somebody else has finished it. First its row, after which nobody can: what he
 * may have claimed for it by then goes with it, and would keep its row key from everybody for ever. With `adopt` rows may be in
 * there: it is forgotten only once nobody can adopt for it any more, and its place goes last, to tell who comes if we do not get there.
 */
async function abandon(options: RegistrationOptions, tenant: Made, adopt: Adoption | undefined): Promise<void> {
  const { store, server, strategy } = options
  // What stopped the registration says more than all this could.
  try {
    if (adopt === undefined) {
      if (await store.discard(tenant.id)) await server.release?.(strategy.scope(tenant))
    } else if (await adopting(options, tenant, ({ giveUp }) => giveUp())) {
      await store.discard(tenant.id)
      await adopting(options, tenant, ({ clear }) => clear())
    }
  } catch {}
}

/** Makes the place of what is to be adopted; when nobody knows whether it was made, there is no tenant yet that it could be of. */
async function announce(options: RegistrationOptions, draft: NewTenant, adopt: Adoption): Promise<void> {
  try {
    await adopting(options, draft, (adoption) => adoption.announce())
  } catch (error) {
    await abandon(options, draft, adopt)
    throw error
  }
}

/** One step of an adoption, in a transaction of its own. */
function adopting<T>(
  { server, strategy }: RegistrationOptions,
  tenant: Made,
  step: (adoption: AdoptionSession) => Promise<T>,
): Promise<T | undefined> {
  return server.inNamespace(strategy.scope(tenant), async ({ adoption }) => adoption && step(adoption))
}

function isUnavailable(error: unknown): boolean {
  return isTenancyError(error) && error.statusCode === 503
}

/**
 * The tenant as it is now. If it was purged meanwhile, what was just made in its name goes again. If its row is gone, nothing
 * does, because rows may be in there: whoever failed to make it has forgotten it, or the registry is another one than before. Only
 * what was reserved for one that nobody was served yet is given back.
 * @throws TENANCY_ERR_TENANT_NOT_FOUND, TENANCY_ERR_STATUS_TRANSITION
 */
async function confirm({ store, strategy, server }: RegistrationOptions, tenant: Tenant): Promise<Tenant> {
  const now = await store.getById(tenant.id)
  if (now === undefined) {
    if (tenant.status === 'provisioning') await server.release?.(strategy.scope(tenant))
    throw tenancyError('TENANCY_ERR_TENANT_NOT_FOUND')
  }
  if (now.status !== 'purging' && now.status !== 'purged') return now
  await server.destroy(strategy.scope(now))
  throw tenancyError('TENANCY_ERR_STATUS_TRANSITION', [now.status, tenant.status])
}

async function provision(
  { server, strategy, migrations }: RegistrationOptions,
  tenant: Tenant,
  adopt: Adoption | undefined,
): Promise<void> {
  await migrateNamespace({ server, scope: strategy.scope(tenant), migrations, adopt })
}
