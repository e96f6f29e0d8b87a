import type { Runner } from '../matrix/cell.ts'
import { AUTHOR, type CellAttempt } from './cell-attempt.ts'

/** Some titles of whoever's database it is. */
export const titles = ({ opened: { model } }: CellAttempt, db: Runner) =>
  db.select({ title: model.books.title }).from(model.books).limit(20)

/** Inserts a book of one's own and gives its title. */
export async function insert(at: CellAttempt, db: Runner, price = 0): Promise<string> {
  const title = at.newTitle()
  await db.insert(at.opened.model.books).values({ authorId: AUTHOR, title, price })
  return title
}

export class Undo extends Error {}
/** Lets everything through but {@link Undo}. */
export const undone = (error: unknown) => {
  if (!(error instanceof Undo)) throw error
}
