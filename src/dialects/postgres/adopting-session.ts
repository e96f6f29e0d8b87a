import type { AdminConnection } from '../../contracts/dialect.ts'
import type { Scope } from '../../contracts/isolation.ts'
import type { NamespaceSession } from '../../contracts/migrator.ts'
import { isTenancyError } from '../../errors.ts'
import {
  type Adopted,
  type AdoptionRights,
  adoptSchema,
  assertApart,
  markSchema,
  obstaclesIn,
  refused,
} from './adopt-schema.ts'
import { layoutOf } from './layout.ts'
import { markOf, openNamespaceSession, schemaMark } from './namespace-session.ts'
import { quoteIdentifier } from './quote.ts'
import { adoptionMarks } from './tenant-mark.ts'

/**
 * A {@link NamespaceSession} in an admin transaction that can take over a schema that exists. What became of it is the mark of the tenant's
 * schema, which changes under the lock of the namespace alone.
 */
export async function openAdoptingSession(
  query: AdminConnection['query'],
  scope: Scope,
  rights: AdoptionRights,
): Promise<NamespaceSession> {
  const session = await openNamespaceSession(query, scope, rights)
  if (scope.strategy !== 'schema') return session
  const layout = layoutOf(scope, rights.shared)
  const { announced, adopted: unserved, givenUp } = adoptionMarks(scope)
  const toAdopt = new Set<string | null | undefined>([announced, unserved, givenUp])
  const mark = schemaMark(scope, layout)
  const own = () => markOf(query, layout.schema)
  let adopted: Adopted | undefined
  return Object.freeze({
    ...session,
    async ensure() {
      try {
        return await session.ensure()
      } catch (error) {
        if (!isTenancyError(error, 'TENANCY_ERR_NAMESPACE_EXISTS') || !toAdopt.has(await own())) throw error
        throw refused(layout.schema, 'the tenant is to have a schema that exists; call ensure() with the same `adopt`')
      }
    },
    async seal() {
      await session.seal()
      if (adopted === undefined) return
      await assertApart(query, adopted)
      await markSchema(query, layout, unserved)
    },
    adoption: Object.freeze({
      async announce() {
        await query(`create schema ${quoteIdentifier(layout.schema)}`)
        await markSchema(query, layout, announced)
      },
      async adopt(from: string) {
        const found = await own()
        const journal = await adoptSchema(query, { scope, layout, rights, from })
        // One that is served already stays so.
        if (found !== mark) adopted = { scope, layout, rights, from }
        if (found === unserved) await markSchema(query, layout, mark)
        return journal
      },
      async accept() {
        if ((await own()) !== unserved) return
        // Who had rights until then may have made something while it was adopted.
        const [obstacle] = await obstaclesIn(query, layout.schema, rights)
        if (obstacle !== undefined) throw refused(layout.schema, obstacle)
        await markSchema(query, layout, mark)
      },
      async giveUp() {
        const found = await own()
        if (found === announced) await markSchema(query, layout, givenUp)
        return found === announced || found === givenUp
      },
      async clear() {
        if ((await own()) === givenUp) await query(`drop schema ${quoteIdentifier(layout.schema)}`)
      },
    }),
  } satisfies NamespaceSession)
}
