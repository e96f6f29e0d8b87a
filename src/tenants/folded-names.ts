import type { AdminConnection } from '../contracts/dialect.ts'
import { foldText } from '../util/fold-text.ts'

/** A name as it is stored, or as it is searched. */
interface Name {
  readonly id: string
  readonly name: string
}

/** The statements of {@link foldNames}. */
export interface FoldStatements {
  /** The next names after an id, in the order of ids, a thousand or so. */
  readonly page: string
  /** Stores the folded names of a page, given as JSON text: a list of `{ id, name }`. */
  readonly fill: string
}

const FIRST = '00000000-0000-0000-0000-000000000000'

/** Gives the tenants of an older registry what a search looks at, in bounded memory. */
export async function foldNames(query: AdminConnection['query'], { page, fill }: FoldStatements): Promise<void> {
  for (let after: string | undefined = FIRST; after !== undefined; ) {
    const names: Name[] = await query<Name>(page, [after])
    const folded = names.map(({ id, name }) => ({ id, name: foldText(name) }))
    if (folded.length > 0) await query(fill, [JSON.stringify(folded)])
    after = names.at(-1)?.id
  }
}
