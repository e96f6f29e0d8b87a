import type { AdminConnection } from '../../../contracts/dialect.ts'
import type { Door } from '../shared/read-only.ts'
import { readStatement } from '../statement.ts'
import type { DatabaseFile } from './database-file.ts'
import { type FileSession, type Prepared, statementsOn } from './file-session.ts'
import { asyncClient } from './async-client.ts'
import { beginTransaction } from './open-transaction.ts'

type Execute = ReturnType<typeof statementsOn>['execute']

/** What the admin connection has to do with tables that all tenants use. */
export interface SharedAccess {
  /** Writes their full names into a statement. */
  write(text: string): string
  /** What lets it write those that tenants only read; undefined where there are none. */
  door(): Door | undefined
}

const NOTHING_SHARED: SharedAccess = { write: (text) => text, door: () => undefined }

/**
 * The unscoped way into the main file. It waits for the same writer as the tenants do.
 * @param clientOf makes what Drizzle gets
 */
export function adminConnection<F extends DatabaseFile>(
  main: () => F,
  clientOf: (session: FileSession<F>) => object,
  shared: SharedAccess = NOTHING_SHARED,
): AdminConnection {
  const lease = () => ({ file: main(), release() {} })
  const session: FileSession<F> = Object.freeze({
    lease,
    leaseNow: lease,
    fileNow: main,
    prepare: (text: string) => ({ kind: kindOf(text), text: shared.write(text) }),
    guard() {},
    door: shared.door,
    onStatement: undefined,
  })
  const { execute } = asyncClient(session)

  return Object.freeze({
    client: clientOf(session),
    query: queryOn(execute),
    async transaction<T>(work: (query: AdminConnection['query']) => Promise<T>) {
      const open = await beginTransaction(session, 'transaction')
      try {
        const result = await work(queryOn(statementsOn(session, open.run).execute))
        await open.commit()
        return result
      } catch (error) {
        await open.rollback()
        throw error
      }
    },
  } satisfies AdminConnection)
}

function queryOn(execute: Execute): AdminConnection['query'] {
  return async <TRow>(text: string, parameters: readonly unknown[] = []) =>
    (await execute({ sql: text, args: parameters })).rows as unknown as TRow[]
}

/** What is not known to read goes to the writer. */
function kindOf(text: string): Prepared['kind'] {
  const { kind, refusal } = readStatement(text)
  return kind === 'read' && refusal === undefined ? 'read' : 'write'
}
