import { tenancyError } from '../../../errors.ts'
import { readOnce } from '../../../util/read-once.ts'
import { breaksConnection, statementFailure } from '../failure.ts'
import { statementKind } from '../statement-kind.ts'
import { changesSession } from './pg-session-commands.ts'
import { queryConfig, refuse, TenantClient, type TenantSession } from './pg-tenant-client.ts'
import type { ConnectionSource } from './pg-pool.ts'
import type { PgClient, PgModule, PgQueryConfig, PgResult } from './pg-types.ts'

const kindOf = readOnce(statementKind)

type Callback = (error: unknown, result?: PgResult) => void
type ConnectCallback = (error: unknown, client?: TenantClient, release?: (error?: Error | boolean) => void) => void

/**
 * What Drizzle takes for a `pg.Pool`: confined to one tenant for ever, over a pool that tenants share. Only `query` and
 * `connect` are there. It inherits from pg's Pool because Drizzle decides by that whether a transaction needs a
 * connection of its own; no field of the real pool can be reached through it.
 */
export function tenantPool(source: ConnectionSource, session: TenantSession): object {
  const query = (config: string | PgQueryConfig, values?: readonly unknown[] | Callback, callback?: Callback) => {
    const done = typeof values === 'function' ? values : callback
    const result = run(source, session, config, typeof values === 'function' ? undefined : values)
    // Of another driver's Drizzle it may be anything, and would be called where nobody catches.
    if (typeof done !== 'function') return result
    result.then((value) => done(null, value), done)
    return undefined
  }
  const connect = (callback?: ConnectCallback) => {
    const client = connectTenant(source, session)
    if (typeof callback !== 'function') return client
    client.then(
      (value) => callback(undefined, value, value.release),
      (error: unknown) => callback(error, undefined, () => {}),
    )
    return undefined
  }
  return poolShaped(source.pg, { query, connect })
}

/** An object with these members that passes for a `pg.Pool`, and whose pool can be neither ended nor reached. */
export function poolShaped(
  { Pool }: PgModule,
  members: { readonly query: unknown; readonly connect: unknown },
): object {
  const end = () =>
    Promise.reject(tenancyError('TENANCY_ERR_STATEMENT_REFUSED', ['the shared pool ends with the app, not by hand']))
  return Object.freeze(Object.assign(Object.create(Pool.prototype) as object, { ...members, end }))
}

/** Takes a connection for one tenant. The scope is fixed before the wait: pg-pool runs waiters in a stranger's context. */
export function connectTenant(source: ConnectionSource, session: TenantSession): Promise<TenantClient> {
  return new Promise((resolve, reject) => {
    session.guard()
    source.checkout((failure, client) => {
      // In the callback, not after an await: a backend that dies in between would find nobody listening, and node would end.
      if (client === undefined) reject(failure)
      else resolve(new TenantClient(client, session))
    })
  })
}

/** One statement: a connection for just as long, one network turn. */
function run(
  source: ConnectionSource,
  session: TenantSession,
  config: string | PgQueryConfig,
  values?: readonly unknown[],
): Promise<PgResult> {
  try {
    session.guard()
    if (typeof config === 'object' && 'submit' in config) {
      throw tenancyError('TENANCY_ERR_STATEMENT_REFUSED', [
        'a cursor needs a connection of its own: `await pool.connect()`',
      ])
    }
    let given = ''
    // Read once: a getter may say something else the next time.
    const statement = queryConfig(config, values, (text) => session.scopeText((given = text)))
    // The tenant's names in it change nothing of what it is.
    const control = kindOf(given)
    if (control.kind === 'procedure') return runProcedure(source, session, statement)
    refuse(control, session)
    if (control.kind !== 'plain') {
      throw tenancyError('TENANCY_ERR_STATEMENT_REFUSED', ['transaction control on a pool; use `transaction()`'])
    }
    session.onStatement?.(statement.text)
    return runInOneFlush(source, session, statement, control.changes !== undefined)
  } catch (error) {
    return Promise.reject(error)
  }
}

async function runProcedure(
  source: ConnectionSource,
  session: TenantSession,
  config: PgQueryConfig,
): Promise<PgResult> {
  const client = await connectTenant(source, session)
  try {
    return (await client.query(config)) as PgResult
  } finally {
    client.release()
  }
}

// Callbacks, not awaits: this is the path of every statement.
function runInOneFlush(
  source: ConnectionSource,
  session: TenantSession,
  config: PgQueryConfig,
  tainting: boolean,
): Promise<PgResult> {
  return new Promise((resolve, reject) => {
    source.checkout((failure, client) => {
      if (client === undefined) {
        reject(failure)
        return
      }
      let done = false
      const settle = (error: Error | null, result?: PgResult) => {
        if (done) return
        done = true
        client.removeListener('error', settle)
        client.release(tainting || verdict(client, error, result))
        if (error) reject(statementFailure(error))
        else resolve(result as PgResult)
      }
      client.on('error', settle)
      try {
        // The wait for a connection may have been long enough for the tenant to be suspended.
        session.guard('send')
        const query = session.queries.query(config, client, session.scope.alone)
        query.callback = settle
        client.query(query)
      } catch (error) {
        // Nothing was sent: the connection is as it came.
        done = true
        client.removeListener('error', settle)
        client.release()
        reject(error)
      }
    })
  })
}

/** What `release` is told: an error or true destroys the connection. */
function verdict(client: PgClient, error: Error | null, result?: PgResult): Error | boolean {
  if (error !== null && breaksConnection(error)) return error
  return client.getTransactionStatus() !== 'I' || changesSession(result?.command)
}
