import type { MetadataSchema } from '../contracts/metadata-schema.ts'
import type { Tenant } from '../contracts/tenant.ts'
import { tenancyError } from '../errors.ts'
import { deepFreeze } from '../util/deep-freeze.ts'
import { issueTexts, pathsOf } from './issue-texts.ts'

type Metadata = Tenant['metadata']

/** What {@link createTenantMetadata} takes. */
export interface TenantMetadataOptions {
  /** Without one, metadata is what it is. */
  readonly schema: MetadataSchema | undefined
  /** What the keys of secrets begin with. Those of the first level are not shown to the schema. */
  readonly secretPrefix: string
}

/** The metadata of tenants as a schema wants it. */
export interface TenantMetadata {
  /** False where all metadata is taken as it is. */
  readonly isChecked: boolean
  /** @throws TENANCY_ERR_METADATA_INVALID for what the schema does not take; the message says where and what the schema says, never a value */
  check(metadata: Metadata): void
  /**
   * What the schema makes of what is stored: also of what an older schema had stored, if this one takes it. Frozen, and
   * made once for each version of a tenant.
   * @throws TENANCY_ERR_METADATA_STORED
   */
  of(tenant: Tenant): Metadata
}

/**
 * What is stored is what was written, and the schema reads it each time anew. So nothing but its reader suffers from what
 * does not fit, and processes with two versions of a schema can share one registry and its caches.
 */
export function createTenantMetadata({ schema, secretPrefix }: TenantMetadataOptions): TenantMetadata {
  const known = new WeakMap<Tenant, Metadata>()
  if (schema === undefined) {
    return Object.freeze({ isChecked: false, check() {}, of: ({ metadata }: Tenant) => metadata })
  }

  function read(metadata: Metadata, code: 'TENANCY_ERR_METADATA_INVALID' | 'TENANCY_ERR_METADATA_STORED'): Metadata {
    const [secrets, shown] = parted(metadata, secretPrefix)
    const result = (schema as MetadataSchema)['~standard'].validate(shown)
    if (result instanceof Promise) {
      // What it will say is not waited for.
      result.catch(() => {})
      throw tenancyError('TENANCY_ERR_CONFIG_INVALID', [
        '- metadataSchema: it gives a promise. Use one that answers at once.',
      ])
    }
    if (result.issues !== undefined) {
      throw code === 'TENANCY_ERR_METADATA_INVALID'
        ? tenancyError('TENANCY_ERR_METADATA_INVALID', [issueTexts(result.issues, metadata)])
        : tenancyError('TENANCY_ERR_METADATA_STORED', [pathsOf(result.issues)])
    }
    return deepFreeze({ ...(result.value as Metadata), ...secrets })
  }

  return Object.freeze({
    isChecked: true,
    check: (metadata: Metadata) => void read(metadata, 'TENANCY_ERR_METADATA_INVALID'),
    of(tenant: Tenant) {
      const found = known.get(tenant) ?? read(tenant.metadata, 'TENANCY_ERR_METADATA_STORED')
      known.set(tenant, found)
      return found
    },
  })
}

/** The secrets of the first level, and a copy of all the rest that the schema may do with what it likes. */
function parted(metadata: Metadata, secretPrefix: string): [secrets: Metadata, shown: Metadata] {
  const entries = Object.entries(metadata)
  const isSecret = ([key]: [string, unknown]) => key.startsWith(secretPrefix)
  return [Object.fromEntries(entries.filter(isSecret)), Object.fromEntries(entries.filter((entry) => !isSecret(entry)))]
}
