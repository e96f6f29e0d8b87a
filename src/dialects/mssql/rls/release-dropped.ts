import type { AdminConnection } from '../../../contracts/dialect.ts'
import { lexemesOf } from '../../../sql/ddl/lexemes.ts'
import type { Layout } from '../layout.ts'
import { mssqlProfile } from '../profile.ts'
import { predicates } from './catalogue.ts'
import { policyName } from './policy.ts'
import { release } from './protect.ts'

/** A table to which a policy is bound cannot be dropped: takes the policies off those that this statement drops. */
export async function releaseDropped(
  query: AdminConnection['query'],
  layout: Layout,
  statement: string,
): Promise<void> {
  const dropped = droppedTables(statement, layout)
  if (dropped.length === 0) return
  const stored = await predicates(query, { layout, column: '', ledger: '' })
  for (const table of dropped) {
    if (!stored.some((one) => one.table === table && one.policy === policyName(table))) continue
    for (const text of release({ layout }, table)) await query(text)
  }
}

/** The tables of a rendered DROP TABLE. */
export function droppedTables(statement: string, { schema }: Layout): string[] {
  const lexemes = lexemesOf(statement, mssqlProfile)
  const tables: string[] = []
  let dropping = false
  for (const [at, { word, name }] of lexemes.entries()) {
    if (word === ';') dropping = false
    if (word === 'drop' && lexemes[at + 1]?.word === 'table') dropping = true
    if (dropping && lexemes[at - 1]?.word === '.' && lexemes[at - 2]?.name === schema && name !== undefined) {
      tables.push(name)
    }
  }
  return tables
}
