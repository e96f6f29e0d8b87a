import { randomUUID } from 'node:crypto'
import type { PGlite } from '@electric-sql/pglite'
import type { Pool } from 'pg'
import type { AdminConnection } from '../../src/contracts/dialect.ts'

/** A schema name no other test has. */
export function uniqueSchema(): string {
  return `registry ${randomUUID()}"q`
}

/** The admin connection as the pg driver will offer it. */
export function pgAdmin(pool: Pool): AdminConnection {
  return {
    client: pool,
    query: async <TRow>(text: string, parameters: readonly unknown[] = []) =>
      (await pool.query(text, [...parameters])).rows as TRow[],
    async transaction(work) {
      const client = await pool.connect()
      try {
        await client.query('begin')
        const result = await work(
          async <TRow>(text: string, parameters: readonly unknown[] = []) =>
            (await client.query(text, [...parameters])).rows as TRow[],
        )
        await client.query('commit')
        return result
      } catch (error) {
        await client.query('rollback')
        throw error
      } finally {
        client.release()
      }
    },
  }
}

/** The admin connection as the PGlite driver will offer it. */
export function pgliteAdmin(pglite: PGlite): AdminConnection {
  return {
    client: pglite,
    query: async <TRow>(text: string, parameters: readonly unknown[] = []) =>
      (await pglite.query<TRow>(text, [...parameters])).rows,
    transaction: (work) =>
      pglite.transaction((transaction) =>
        work(
          async <TRow>(text: string, parameters: readonly unknown[] = []) =>
            (await transaction.query<TRow>(text, [...parameters])).rows,
        ),
      ),
  }
}

/** Drops a schema made for a test. */
export async function dropSchema(admin: AdminConnection, schema: string): Promise<void> {
  await admin.query(`drop schema if exists "${schema.replaceAll('"', '""')}" cascade`)
}
