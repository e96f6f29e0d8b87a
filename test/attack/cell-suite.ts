import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Cell, OpenCell } from '../matrix/cell.ts'
import { attackCell, type CellFindings } from './cell-attack.ts'
import { type CellAttacker, cellOperations } from './cell-operations.ts'

/** For each cell and version of Drizzle; more on demand. */
const OPERATIONS = Number(process.env['ATTACK_OPERATIONS'] ?? 10_000)

/** Attacks a cell with pools of 1 and of 5, and sees that the attack finds a scoping that is wrong. */
export function attackSuite(cellOf: (poolSize: number) => Cell, tenants = 20): void {
  describe.each([1, 5])('a pool of %i', (poolSize) => {
    const cell = cellOf(poolSize)
    let opened: OpenCell
    beforeAll(async () => {
      opened = await cell.open()
    })
    afterAll(() => opened?.close())

    it('lets nothing cross', async () => {
      const findings = await attackCell({
        cell,
        opened,
        tenants,
        operations: OPERATIONS / 2,
        workers: poolSize === 1 ? 8 : 16,
        seed: poolSize,
        chaos: opened.disturb !== undefined,
      })
      expect(findings).toMatchObject({ foreign: 0, wrong: 0, samples: [] })
      expect(cellOperations.filter(({ name }) => findings.done[name] === undefined)).toEqual([])
    }, 240_000)

    it('control: finds a tenant that is kept in a module variable', async () => {
      let current: CellAttacker | undefined
      const findings: CellFindings = await attackCell({
        cell,
        opened,
        tenants: 4,
        operations: 300,
        workers: 8,
        seed: 7,
        chaos: false,
        choose: async (attacker) => {
          current = attacker
          await new Promise(setImmediate)
          return current.db
        },
      })
      expect(findings.foreign).toBeGreaterThan(0)
    }, 60_000)
  })
}
