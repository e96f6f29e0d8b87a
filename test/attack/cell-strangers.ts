import { type CellAttempt, type CellOperation, SEEDED_IDS } from './cell-attempt.ts'
import { titles } from './cell-steps.ts'
import { codeOf } from './operation.ts'

/** What was made for one tenant, in the hands of another. */
export const cellStrangers: readonly CellOperation[] = [
  {
    name: 'somebody else’s prepared query',
    weight: 4,
    run: async (at) => {
      await foreign(at, () => at.stranger.prepared.execute({ id: SEEDED_IDS[0] as number }))
      const rows = await at.outside(() => at.stranger.prepared.execute({ id: SEEDED_IDS[0] as number }))
      at.saw(rows, 1, at.stranger)
    },
  },
  {
    name: 'somebody else’s builder, awaited here',
    weight: 3,
    run: async (at) => {
      const built = titles(at, at.stranger.db)
      at.saw(await titles(at, at.db), SEEDED_IDS.length)
      await foreign(at, () => built)
      const whole = titles(at, at.stranger.db)
      at.saw(await at.as(at.stranger, async () => whole), SEEDED_IDS.length, at.stranger)
    },
  },
  {
    name: 'somebody else’s transaction',
    unless: 'synchronous',
    weight: 2,
    run: (at) => foreign(at, () => at.stranger.db.transaction(async (tx) => titles(at, tx))),
  },
  {
    name: 'two tenants at once',
    weight: 3,
    run: async (at) => {
      const [mine, theirs] = await Promise.all([
        titles(at, at.db),
        at.as(at.stranger, async () => titles(at, at.stranger.db)),
      ])
      at.saw(mine, SEEDED_IDS.length)
      at.saw(theirs, SEEDED_IDS.length, at.stranger)
    },
  },
]

/** What is somebody else's works nowhere but with them: refused here, or their own rows where nothing guards. */
export async function foreign(
  at: CellAttempt,
  work: () => PromiseLike<readonly { readonly title: unknown }[]>,
): Promise<void> {
  const outcome = await (async () => work())().catch((error: unknown) => error)
  if (Array.isArray(outcome)) at.saw(outcome as { title: unknown }[], 1, at.stranger)
  const refused = codeOf(outcome) === 'TENANCY_ERR_TENANT_MISMATCH'
  const mustBe = at.guarded && at.stranger.marker !== at.marker
  if (refused !== mustBe && (refused || Array.isArray(outcome)))
    at.report(refused ? 'it was refused' : 'it was not refused')
  if (!refused && !Array.isArray(outcome)) throw outcome
}
