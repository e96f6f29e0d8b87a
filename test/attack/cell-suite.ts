import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Cell, Db, OpenCell } from '../matrix/cell.ts'
import { attackCell, type CellAttackOptions, type CellFindings, insistently } from './cell-attack.ts'
import type { CellAttacker } from './cell-attempt.ts'
import type { OpenBrokenCell } from './broken-cells.ts'
import { operationsOf } from './cell-operations.ts'

/** For each cell and version of Drizzle; more on demand. */
const OPERATIONS = Number(process.env['ATTACK_OPERATIONS'] ?? 10_000)

/** Seconds that most waits for the only connection are longer than, and none for a new one: whoever opens a server has to get it. */
const TOO_SHORT = 0.005

/** Makes a cell with connections, or files, for so many at once; `poolTimeout` is the longest wait for one, in seconds. */
export type CellMaker = (poolSize: number, poolTimeout?: number) => Cell

/**
 * Attacks a cell with pools of these sizes, and sees that the attack finds what is wrong, such as these.
 * @param tooShort seconds, where a new connection takes longer than elsewhere
 */
export function attackSuite(
  cellOf: CellMaker,
  broken: Readonly<Record<string, OpenBrokenCell>>,
  poolSizes: readonly number[] = [1, 5],
  tooShort = TOO_SHORT,
): void {
  describe.each(poolSizes)('a pool of %i', (poolSize) => {
    const { attack, opened } = attacked(cellOf(poolSize))

    it('lets nothing cross', async () => {
      const findings = await attack({
        tenants: 20,
        operations: OPERATIONS / poolSizes.length,
        workers: poolSize === 1 ? 8 : 16,
        seed: poolSize,
        chaos: opened().disturb !== undefined,
      })
      expect(findings).toMatchObject({ foreign: 0, wrong: 0, samples: [] })
      const all = operationsOf({ cell: cellOf(poolSize), opened: opened() })
      expect(all.filter(({ name }) => findings.done[name] === undefined)).toEqual([])
      if (opened().disturb === undefined) return
      expect(findings.struck).toBeGreaterThan(0)
      expect(findings.disturbed).toBeGreaterThan(0)
    }, 600_000)

    it('control: finds a tenant that is kept in a module variable', async () => {
      const findings = await attack({
        tenants: 4,
        operations: 300,
        workers: 8,
        seed: 7,
        guarded: false,
        choose: lastUsed(),
      })
      expect(findings.foreign).toBeGreaterThan(0)
    }, 60_000)

    it('the guard turns that same mistake into an error', async () => {
      const findings = await attack({ tenants: 4, operations: 300, workers: 8, seed: 7, choose: lastUsed() })
      expect(findings).toMatchObject({ foreign: 0 })
      expect(findings.samples.filter((sample) => !sample.includes('TENANCY_ERR_TENANT_MISMATCH'))).toEqual([])
      expect(findings.wrong).toBeGreaterThan(0)
    }, 60_000)
  })

  describe.runIf(Object.keys(broken).length > 0)('controls', () => {
    const { attack, opened } = attacked(cellOf(5))

    it.each(Object.entries(broken))(
      'finds %s',
      async (_what, openBroken) => {
        const { clientOf, close } = await openBroken(opened().place ?? '', opened().server)
        const databases = new Map<CellAttacker, Db>()
        const choose = (attacker: CellAttacker) => {
          const known = databases.get(attacker) ?? opened().drizzle(clientOf(attacker.scope))
          databases.set(attacker, known)
          return known
        }
        const findings = await attack({ tenants: 4, operations: 300, workers: 8, seed: 7, guarded: false, choose })
        await close()
        expect(findings.foreign).toBeGreaterThan(0)
      },
      60_000,
    )
  })

  // Where nobody waits, nobody waits too long.
  if (cellOf(1).features.includes('synchronous')) return
  describe('a wait that is too short', () => {
    const { attack } = attacked(cellOf(1, tooShort))

    it('fails, and lets nothing cross', async () => {
      let disturbed = 0
      // On a fast machine, or a slow one, nobody may have to wait too long in the first round.
      for (let round = 0; round < 5 && disturbed === 0; round++) {
        const findings = await attack({
          tenants: 8,
          operations: Math.max(500, OPERATIONS / 10),
          workers: 16 * (round + 1),
          seed: 3 + round,
          impatient: true,
        })
        expect(findings).toMatchObject({ foreign: 0, wrong: 0, samples: [] })
        disturbed = findings.disturbed
      }
      expect(disturbed).toBeGreaterThan(0)
    }, 600_000)
  })
}

type Run = Pick<CellAttackOptions, 'tenants' | 'operations' | 'workers' | 'seed'> & Partial<CellAttackOptions>

function attacked(cell: Cell): { attack: (run: Run) => Promise<CellFindings>; opened: () => OpenCell } {
  let opened: OpenCell
  beforeAll(async () => {
    opened = await insistently(() => cell.open())
  })
  afterAll(() => opened?.close())
  return { attack: (run) => attackCell({ cell, opened, chaos: false, ...run }), opened: () => opened }
}

/** The database of whoever asked last. */
function lastUsed(): NonNullable<CellAttackOptions['choose']> {
  let current: CellAttacker | undefined
  return async (attacker) => {
    current = attacker
    await new Promise(setImmediate)
    return current.db
  }
}
