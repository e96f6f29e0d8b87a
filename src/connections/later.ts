import type { AdminConnection } from '../contracts/dialect.ts'

/** A connection that is there once the server was opened. */
export function later(connection: () => AdminConnection): AdminConnection {
  return Object.freeze({
    get client() {
      return connection().client
    },
    query: <TRow>(text: string, parameters?: readonly unknown[]) => connection().query<TRow>(text, parameters),
    transaction: <T>(work: (query: AdminConnection['query']) => Promise<T>) => connection().transaction(work),
  })
}
