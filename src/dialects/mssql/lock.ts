import type { AdminConnection } from '../../contracts/dialect.ts'
import type { Scope } from '../../contracts/isolation.ts'
import { tenancyError } from '../../errors.ts'
import type { Layout } from './layout.ts'

type Query = AdminConnection['query']

/** Milliseconds to wait for whoever else works on a namespace; a migration may copy a large table. */
const LOCK_WAIT_MS = 3_600_000

const take = (waitMs: number) =>
  `declare @got int; exec @got = sys.sp_getapplock @Resource = @p0, @LockMode = N'Exclusive',
  @LockOwner = N'Session', @LockTimeout = ${waitMs}; select @got as got`
const RELEASE = "exec sys.sp_releaseapplock @Resource = @p0, @LockOwner = N'Session'"

/**
 * Runs `work` while nobody else makes, migrates or destroys the same. The locks are this session's, in the database that it
 * is in, and die with it; the shared schema's comes first, for all in this order.
 */
export async function locked<T>(
  query: Query,
  scope: Pick<Scope, 'namespace'>,
  layout: Pick<Layout, 'own' | 'schema'>,
  work: () => Promise<T>,
  waitMs = LOCK_WAIT_MS,
): Promise<T> {
  const names = layout.own ? [scope.namespace] : [layout.schema, scope.namespace]
  return holding(
    query,
    names.map((one) => `fastify-tenancy:${one}`),
    work,
    take(waitMs),
  )
}

async function holding<T>(
  query: Query,
  [name, ...rest]: readonly string[],
  work: () => Promise<T>,
  order: string,
): Promise<T> {
  if (name === undefined) return work()
  const [answer] = await query<{ got: number }>(order, [name])
  if (answer === undefined || answer.got < 0) throw tenancyError('TENANCY_ERR_DATABASE_UNAVAILABLE')
  try {
    return await holding(query, rest, work, order)
  } finally {
    // On a connection that is lost, or in another database now, it goes with the session.
    await query(RELEASE, [name]).catch(() => {})
  }
}
