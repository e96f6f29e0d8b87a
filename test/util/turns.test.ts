import { expect, it } from 'vitest'
import { createTurns } from '../../src/util/turns.ts'

it('one key waits for its turn, another does not, and a failure keeps nobody from it', async () => {
  const inTurn = createTurns()
  const done: string[] = []
  let release = () => {}
  const first = inTurn('a', () => new Promise<void>((resolve) => (release = resolve)).then(() => void done.push('a1')))
  const second = inTurn('a', async () => {
    done.push('a2')
    throw new RangeError('mine')
  })
  const third = inTurn('a', async () => void done.push('a3'))
  await inTurn('b', async () => void done.push('b1'))
  expect(done).toEqual(['b1'])
  release()
  await expect(second).rejects.toThrow('mine')
  await Promise.all([first, third])
  expect(done).toEqual(['b1', 'a1', 'a2', 'a3'])
})
