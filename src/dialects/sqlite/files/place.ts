import type { Scope } from '../../../contracts/isolation.ts'
import { tenancyError } from '../../../errors.ts'
import { layoutOf } from '../layout.ts'
import { isMarkedFor } from '../ledger.ts'
import { identityOf, isSame, type Location, tenantFile } from '../location.ts'

/** Where a file is, and how to make sure that what was opened is that very file. */
export interface Place {
  readonly path: string
  /** Looks at the file before it is opened; what it gives looks again afterwards. @throws TENANCY_ERR_DATABASE_UNAVAILABLE */
  look(): () => void
  /** Whether a file with a ledger of this text is the tenant's. Absent where a file is nobody's own. */
  readonly assertOwn?: (ledgerSql: unknown) => void
}

/** A file that tenants share, or none reaches. */
export function sharedPlace(path: string): Place {
  return Object.freeze({ path, look: () => () => {} })
}

/** The file of a tenant that has one of its own. A link is never followed. */
export function ownPlace(location: Location, scope: Scope): Place {
  // Checks the namespace before anything is made of it.
  layoutOf(scope)
  const { namespace } = scope
  const path = tenantFile(location, namespace)
  return Object.freeze({
    path,
    look() {
      // SQLite would make an empty file of what is not there.
      const before = identityOf(path, namespace)
      if (before === undefined) throw gone()
      return () => {
        if (!isSame(before, identityOf(path, namespace))) throw gone()
      }
    },
    assertOwn(ledgerSql: unknown) {
      if (!isMarkedFor(scope, ledgerSql)) throw tenancyError('TENANCY_ERR_NAMESPACE_EXISTS', [namespace])
    },
  })
}

function gone(): Error {
  return tenancyError('TENANCY_ERR_DATABASE_UNAVAILABLE')
}
