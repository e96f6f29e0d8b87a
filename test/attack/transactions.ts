import { eq, sql } from 'drizzle-orm'
import { type Attempt, codeOf, type Operation } from './operation.ts'
import { items, parts, SEEDED, type Transaction } from './schema.ts'

class Thrown extends Error {
  readonly code = 'THROWN'
}

const levels = ['read committed', 'repeatable read', 'serializable'] as const

/** Looks around in a transaction, and writes one row. */
async function work(tx: Transaction, { tenant, saw }: Attempt, ref: string): Promise<void> {
  saw(
    (await tx.select({ owner: items.owner }).from(items).limit(5)).map(({ owner }) => owner),
    SEEDED,
  )
  const [row] = await tx.insert(items).values({ owner: tenant.marker, ref }).returning()
  saw([row?.owner], 1)
  await tx.insert(parts).values({ owner: tenant.marker, itemId: row?.id ?? 0 })
}

/** Transactions in every way they can end. */
export const transactions: readonly Operation[] = [
  {
    name: 'transaction that commits',
    weight: 5,
    run: async (attempt) => {
      const ref = attempt.newRef()
      await attempt.db.transaction((tx) => work(tx, attempt, ref))
      attempt.ledger.committed(ref)
    },
  },
  {
    name: 'transaction with an isolation level',
    weight: 2,
    run: async (attempt) => {
      const isolationLevel = attempt.random.pick(levels)
      await attempt.db.transaction(
        async (tx) => {
          const [level] = (await tx.execute(sql`show transaction_isolation`)).rows
          if (level?.['transaction_isolation'] !== isolationLevel) attempt.report(`not ${isolationLevel}`)
          const rows = await tx.select().from(items).limit(5)
          attempt.saw(
            rows.map(({ owner }) => owner),
            SEEDED,
          )
        },
        { isolationLevel, accessMode: 'read only' },
      )
    },
  },
  {
    name: 'transaction that is rolled back',
    weight: 3,
    fails: ['rollback'],
    run: async (attempt) => {
      const ref = attempt.newRef()
      try {
        await attempt.db.transaction(async (tx) => {
          await work(tx, attempt, ref)
          tx.rollback()
        })
      } catch (error) {
        if (!(error instanceof Error) || error.constructor.name !== 'TransactionRollbackError') throw error
        attempt.ledger.refused(ref)
        throw Object.assign(new Error('rolled back', { cause: error }), { code: 'rollback' })
      }
    },
  },
  {
    name: 'transaction that throws',
    weight: 3,
    fails: ['THROWN'],
    run: (attempt) =>
      attempt.db.transaction(async (tx) => {
        await work(tx, attempt, attempt.newRef())
        throw new Thrown('the handler failed')
      }),
  },
  {
    name: 'transaction with a statement that fails',
    weight: 2,
    fails: ['22012'],
    run: (attempt) =>
      attempt.db.transaction(async (tx) => {
        await work(tx, attempt, attempt.newRef())
        await tx.execute(sql`select 1/0`)
      }),
  },
  {
    name: 'transaction that swallows a failure',
    weight: 2,
    fails: ['TENANCY_ERR_TRANSACTION_ROLLED_BACK'],
    run: (attempt) =>
      attempt.db.transaction(async (tx) => {
        await work(tx, attempt, attempt.newRef())
        await tx.execute(sql`select 1/0`).catch(() => {})
      }),
  },
  {
    name: 'transaction whose commit fails',
    weight: 2,
    fails: ['23503'],
    run: (attempt) =>
      attempt.db.transaction(async (tx) => {
        await work(tx, attempt, attempt.newRef())
        await tx.insert(parts).values({ owner: attempt.tenant.marker, itemId: -1 })
      }),
  },
  {
    name: 'savepoints',
    weight: 3,
    run: async (attempt) => {
      const [outer, kept, undone] = [attempt.newRef(), attempt.newRef(), attempt.newRef()]
      await attempt.db.transaction(async (tx) => {
        await work(tx, attempt, outer)
        await tx.transaction((inner) => work(inner as Transaction, attempt, kept))
        const failed = tx.transaction(async (inner) => {
          await work(inner as Transaction, attempt, undone)
          await inner.execute(sql`select 1/0`)
        })
        await failed.catch((error: unknown) => {
          if (codeOf(error) !== '22012') throw error
        })
        const { rows } = await tx.execute(sql`select owner from items where ref = ${undone} or id <= ${SEEDED}`)
        attempt.saw(
          rows.map((row) => row['owner']),
          SEEDED,
        )
        if (rows.length !== SEEDED) attempt.report('a savepoint was not undone')
      })
      attempt.ledger.committed(outer)
      attempt.ledger.committed(kept)
      attempt.ledger.refused(undone)
    },
  },
  {
    name: 'raw COMMIT inside a transaction',
    weight: 2,
    fails: ['TENANCY_ERR_TRANSACTION_FINISHED'],
    run: (attempt) => {
      const [before, after] = [attempt.newRef(), attempt.newRef()]
      return attempt.db.transaction(async (tx) => {
        await work(tx, attempt, before)
        await tx.execute(sql.raw(attempt.random.pick(['commit', '/* x */ COMMIT WORK;', 'end'])))
        attempt.ledger.committed(before)
        const { marker } = attempt.tenant
        await tx.insert(items).values({ owner: marker, ref: after })
        attempt.report('a statement ran after its transaction')
      })
    },
  },
  {
    name: 'raw ROLLBACK inside a transaction',
    weight: 1,
    fails: ['TENANCY_ERR_TRANSACTION_FINISHED'],
    run: (attempt) =>
      attempt.db.transaction(async (tx) => {
        await work(tx, attempt, attempt.newRef())
        await tx.execute(sql`rollback`)
        await tx.execute(sql`select owner from items`)
        attempt.report('a statement ran after its transaction')
      }),
  },
  {
    name: 'statement timeout',
    weight: 0.5,
    fails: ['57014'],
    run: (attempt) =>
      attempt.db.transaction(async (tx) => {
        await tx.execute(sql`set local statement_timeout = 5`)
        await tx.execute(sql`select pg_sleep(1)`)
      }),
  },
  {
    name: 'transaction of a caller that hangs up',
    weight: 2,
    run: async (attempt) => {
      const ref = attempt.newRef()
      attempt.drop(attempt.db.transaction((tx) => work(tx, attempt, ref)).then(() => attempt.ledger.committed(ref)))
    },
  },
  {
    name: 'transaction that leaves a statement behind',
    weight: 2,
    tolerates: ['TENANCY_ERR_TRANSACTION_ROLLED_BACK'],
    run: async (attempt) => {
      const [ref, late] = [attempt.newRef(), attempt.newRef()]
      await attempt.db.transaction(async (tx) => {
        await work(tx, attempt, ref)
        attempt.drop(tx.insert(items).values({ owner: attempt.tenant.marker, ref: late }).execute())
      })
      attempt.ledger.committed(ref)
    },
  },
  {
    name: 'update and delete in one transaction',
    weight: 2,
    run: async (attempt) => {
      const [changed, gone] = [attempt.ledger.claim(), attempt.ledger.claim()]
      if (changed === undefined || gone === undefined) return
      const n = 1 + attempt.random.below(1000)
      await attempt.db.transaction(async (tx) => {
        const updated = await tx.update(items).set({ n }).where(eq(items.ref, changed.ref)).returning()
        const deleted = await tx.delete(items).where(eq(items.ref, gone.ref)).returning()
        attempt.saw(
          [...updated, ...deleted].map(({ owner }) => owner),
          2,
        )
      })
      changed.updated(n)
      gone.deleted()
    },
  },
]
