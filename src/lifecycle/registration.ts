import { randomUUID } from 'node:crypto'
import type { DatabaseServer } from '../contracts/dialect.ts'
import type { IsolationStrategy } from '../contracts/isolation.ts'
import type { Migration } from '../contracts/migrator.ts'
import type { TenantStore } from '../contracts/store.ts'
import type { StrategyName, Tenant } from '../contracts/tenant.ts'
import { isTenancyError, tenancyError } from '../errors.ts'
import { migrateNamespace } from '../migrations/runner.ts'
import { checkMetadata } from '../tenants/tenant-input.ts'
import type { TenantMetadata } from '../tenants/tenant-metadata.ts'
import { closest } from '../util/env.ts'
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
}

/** All of them; anything else is a slip of the pen, and a misspelt wish must not be a tenant in the wrong place. */
const FIELDS: readonly (keyof Registration)[] = ['identifier', 'name', 'metadata', 'strategy', 'server', 'rowKey']

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

/** How tenants come into being. */
export interface RegistrationService {
  /**
   * Makes a tenant: the row as `provisioning`, which nobody serves; its schema with all migrations in one transaction;
   * then the configured status. A failure leaves nothing behind.
   */
  register(registration: Registration): Promise<Tenant>
  /** The tenant, made if it does not exist, finished if a crash left it half-made, and migrated. */
  ensure(registration: Registration): Promise<Tenant>
}

/** Builds the {@link RegistrationService}. */
export function createRegistration(options: RegistrationOptions): RegistrationService {
  const { store, strategy, reserved } = options

  const register = async (registration: Registration): Promise<Tenant> => {
    const { identifier, name = identifier, metadata = {}, strategy: asked, server, rowKey } = registration
    assertFields(registration)
    assertRegistrable(identifier, reserved)
    options.metadata.check(checkMetadata(metadata))
    const id = randomUUID()
    const tenant = await store.insert({
      id,
      identifier,
      name,
      metadata,
      status: 'provisioning',
      placement: strategy.place({ id, identifier, metadata, strategy: asked, server, rowKey }),
    })
    try {
      await provision(options, tenant)
    } catch (error) {
      await store.discard(id).catch(() => false)
      throw isTenancyError(error) ? error : tenancyError('TENANCY_ERR_PROVISION_FAILED', [], error)
    }
    return publish(options, tenant)
  }

  const ensure = async (registration: Registration): Promise<Tenant> => {
    assertFields(registration)
    const found = await store.getByIdentifier(registration.identifier)
    if (found !== undefined) return finish(options, withRowKey(found, registration))
    try {
      return await register(registration)
    } catch (error) {
      if (!isTenancyError(error, 'TENANCY_ERR_TENANT_EXISTS')) throw error
      const winner = await store.getByIdentifier(registration.identifier)
      if (winner === undefined) throw error
      return finish(options, withRowKey(winner, registration))
    }
  }

  return Object.freeze({ register, ensure })
}

/** @throws TENANCY_ERR_TENANT_INVALID for a field that is none */
function assertFields(registration: object): void {
  const unknown = Object.keys(registration).find((key) => !FIELDS.some((field) => field === key))
  if (unknown === undefined) return
  const meant = closest(unknown, FIELDS)
  const hint = meant === undefined ? `fields are ${FIELDS.join(', ')}` : `did you mean ${meant}?`
  throw tenancyError('TENANCY_ERR_TENANT_INVALID', [`${quoteReceived(unknown)} is no field of a registration; ${hint}`])
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
async function finish(options: RegistrationOptions, tenant: Tenant): Promise<Tenant> {
  if (tenant.status !== 'provisioning' && tenant.status !== 'active' && tenant.status !== 'suspended') {
    throw tenancyError('TENANCY_ERR_STATUS_TRANSITION', [tenant.status, options.initialStatus])
  }
  await provision(options, tenant)
  return tenant.status === 'provisioning' ? publish(options, tenant) : confirm(options, tenant)
}

/** Gives a tenant that is complete its first status. Whoever else was finishing it may have come first, and gone on. */
async function publish(options: RegistrationOptions, tenant: Tenant): Promise<Tenant> {
  const { store, initialStatus } = options
  try {
    return await store.setStatus(tenant.id, initialStatus, 'provisioning')
  } catch (error) {
    const now = await confirm(options, tenant)
    if (now.status === 'provisioning') throw error
    return now
  }
}

/**
 * The tenant as it is now. If it was purged meanwhile, what was just made in its name goes again. If its row is gone, nothing
 * does: whoever failed to make it has forgotten it, or the registry is another one than before, and rows may be in there.
 * @throws TENANCY_ERR_TENANT_NOT_FOUND, TENANCY_ERR_STATUS_TRANSITION
 */
async function confirm({ store, strategy, server }: RegistrationOptions, tenant: Tenant): Promise<Tenant> {
  const now = await store.getById(tenant.id)
  if (now === undefined) throw tenancyError('TENANCY_ERR_TENANT_NOT_FOUND')
  if (now.status !== 'purging' && now.status !== 'purged') return now
  await server.destroy(strategy.scope(now))
  throw tenancyError('TENANCY_ERR_STATUS_TRANSITION', [now.status, tenant.status])
}

async function provision({ server, strategy, migrations }: RegistrationOptions, tenant: Tenant): Promise<void> {
  await migrateNamespace({ server, scope: strategy.scope(tenant), migrations })
}
