import { tenancyError } from '../../../errors.ts'
import type { PgModule } from './pg-types.ts'
import { recorded } from './pg-wire.ts'

/**
 * Makes sure that a value which cannot be sent leaves nothing for the next statement. pg writes what all connections of the
 * process send into one buffer; up to pg-protocol 1.14 it kept there what was written before such a value: parameters of one
 * tenant, sent with the statement of another. The version says little, a lock file can pin what pg stands on.
 * @throws TENANCY_ERR_PEER_UNSAFE
 */
export function assertCleanBinds(pg: PgModule): void {
  const bindOf = (values: readonly string[], valueMapper?: (value: unknown) => unknown) =>
    Buffer.from(recorded(pg, (outlet) => outlet.bind({ values, ...(valueMapper && { valueMapper }) })))
  const expected = bindOf(['next'])
  try {
    bindOf(['left', 'unsendable'], (value) => {
      if (value === 'unsendable') throw new TypeError('It cannot be sent.')
      return value
    })
  } catch {
    // As it should.
  }
  if (bindOf(['next']).equals(expected)) return
  throw tenancyError('TENANCY_ERR_PEER_UNSAFE', [
    'pg',
    'it sends parameters of one statement with another one (pg-protocol before 1.15)',
    'pg@latest pg-protocol@latest',
  ])
}
