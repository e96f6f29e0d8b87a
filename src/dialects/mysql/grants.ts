import type { AdminConnection } from '../../contracts/dialect.ts'
import { errorNumber } from './failure.ts'
import type { Layout } from './layout.ts'
import { mysqlProfile } from './profile.ts'
import { quoteText } from './quote.ts'

type Query = AdminConnection['query']

const RIGHTS = 'select, insert, update, delete'
/** There is no such grant. */
const NO_GRANT = 1141

/** An account as CURRENT_USER() tells it, quoted for GRANT. */
export function quoteAccount(account: string): string {
  const at = account.lastIndexOf('@')
  return `${quoteText(account.slice(0, at))}@${quoteText(account.slice(at + 1))}`
}

/**
 * Rows for the serving account, never DDL. For the whole database: a grant for each table would be kept in memory for each
 * tenant and table, and be there after the table is gone. So the ledger's rows are in reach too, with SQL that spells it;
 * what it is marked with is not.
 */
export async function grantRows(query: Query, { database }: Layout, account: string | undefined): Promise<void> {
  if (account === undefined) return
  await query(`grant ${RIGHTS} on ${pattern(database)}.* to ${quoteAccount(account)}`)
}

/** Takes it back: DROP DATABASE does not. */
export async function revokeRows(query: Query, { database }: Layout, account: string | undefined): Promise<void> {
  if (account === undefined) return
  try {
    await query(`revoke ${RIGHTS} on ${pattern(database)}.* from ${quoteAccount(account)}`)
  } catch (error) {
    if (errorNumber(error) !== NO_GRANT) throw error
  }
}

/** In a grant `_` and `%` stand for other characters, and would grant other databases too. */
function pattern(database: string): string {
  return mysqlProfile.quoteName(database.replace(/[\\_%]/g, String.raw`\$&`))
}
