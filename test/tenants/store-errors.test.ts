import { describe, expect, it } from 'vitest'
import { tenancyError } from '../../src/errors.ts'
import { isRetryable, storeError } from '../../src/tenants/store-errors.ts'

/** An error as Drizzle wraps it: the SQL and its parameters in the message. */
function wrapped(cause: unknown): Error {
  const error = new Error('Failed query: select * from tenants where name = $1\nparams: Secret Inc.', { cause })
  return Object.assign(error, { query: 'select * from tenants where name = $1', params: ['Secret Inc.'] })
}

const driverError = (code?: string): Error => Object.assign(new Error('driver'), code === undefined ? {} : { code })

describe('storeError', () => {
  it.each([
    [2627, 'TENANCY_ERR_TENANT_EXISTS'],
    [2601, 'TENANCY_ERR_TENANT_EXISTS'],
    [547, 'TENANCY_ERR_TENANT_INVALID'],
    [515, 'TENANCY_ERR_TENANT_INVALID'],
    [2628, 'TENANCY_ERR_TENANT_INVALID'],
    [8152, 'TENANCY_ERR_TENANT_INVALID'],
    [1205, 'TENANCY_ERR_STORE_UNAVAILABLE'],
    [229, 'TENANCY_ERR_STORE_FORBIDDEN'],
    // What begins so is a wrong value on PostgreSQL.
    [22_021, 'TENANCY_ERR_STORE_UNAVAILABLE'],
  ])('tells %i of SQL Server as %s', (number, code) => {
    const cause = Object.assign(driverError('EREQUEST'), { number })
    expect(storeError(cause)).toMatchObject({ code, cause })
  })

  it('[W42] has a deadlock and a row that was waited for too long tried again', () => {
    for (const [number, again] of [
      [1205, true],
      [1222, true],
      [2627, false],
    ] as const) {
      expect(isRetryable(Object.assign(driverError('EREQUEST'), { number }))).toBe(again)
    }
  })

  it.each([
    ['23505', 'TENANCY_ERR_TENANT_EXISTS'],
    ['23514', 'TENANCY_ERR_TENANT_INVALID'],
    ['22P05', 'TENANCY_ERR_TENANT_INVALID'],
    ['22021', 'TENANCY_ERR_TENANT_INVALID'],
    ['08006', 'TENANCY_ERR_STORE_UNAVAILABLE'],
    ['57P01', 'TENANCY_ERR_STORE_UNAVAILABLE'],
    ['53300', 'TENANCY_ERR_STORE_UNAVAILABLE'],
    ['40001', 'TENANCY_ERR_STORE_UNAVAILABLE'],
    ['42501', 'TENANCY_ERR_STORE_FORBIDDEN'],
    ['ER_DBACCESS_DENIED_ERROR', 'TENANCY_ERR_STORE_FORBIDDEN'],
    ['ER_ACCESS_DENIED_ERROR', 'TENANCY_ERR_STORE_UNAVAILABLE'],
    ['28P01', 'TENANCY_ERR_STORE_UNAVAILABLE'],
    ['EPIPE', 'TENANCY_ERR_STORE_UNAVAILABLE'],
    ['ECONNREFUSED', 'TENANCY_ERR_STORE_UNAVAILABLE'],
    [undefined, 'TENANCY_ERR_STORE_UNAVAILABLE'],
  ])('tells %s as %s, with the error of the driver as its cause', (state, code) => {
    const cause = driverError(state)
    for (const error of [cause, wrapped(cause), wrapped(wrapped(cause))]) {
      const told = storeError(error) as Error
      expect(told).toMatchObject({ code })
      expect(told.cause).toBe(cause)
      expect(told.message).not.toMatch(/select |Secret/)
    }
  })

  it.each(['TENANCY_ERR_DATABASE_UNAVAILABLE', 'TENANCY_ERR_POOL_TIMEOUT'] as const)(
    'tells %s as unavailable',
    (code) => {
      const cause = tenancyError(code, [10])
      for (const error of [cause, wrapped(cause)]) {
        const told = storeError(error)
        expect(told).toMatchObject({ code: 'TENANCY_ERR_STORE_UNAVAILABLE', statusCode: 503 })
        expect(told).toHaveProperty('cause', cause)
      }
    },
  )

  it('lets every other error of ours pass', () => {
    const closed = tenancyError('TENANCY_ERR_CLOSED')
    expect(storeError(closed)).toBe(closed)
    expect(storeError(wrapped(closed))).toBe(closed)
  })

  it('takes anything thrown', () => {
    const cycle = new Error('cycle')
    cycle.cause = cycle
    for (const thrown of [undefined, null, 'text', {}, cycle]) {
      expect(storeError(thrown)).toMatchObject({ code: 'TENANCY_ERR_STORE_UNAVAILABLE' })
    }
  })
})
