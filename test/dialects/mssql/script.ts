import type { AdminConnection } from '../../../src/contracts/dialect.ts'

/** Answers, each to what contains the text. */
export type Answers = readonly (readonly [part: string, rows: readonly object[]])[]

/** Answers by what a text contains, the last matching one; everything that begins with no SELECT is kept. */
export function script(answers: Answers) {
  const sent: string[] = []
  const query = (async (text: string, parameters: readonly unknown[] = []) => {
    const plain = text.replaceAll(/\s+/g, ' ').trim()
    if (!plain.startsWith('select')) {
      sent.push(parameters.length === 0 ? plain : `${plain} -- ${JSON.stringify(parameters)}`)
    }
    return answers.findLast(([part]) => plain.includes(part))?.[1] ?? []
  }) as AdminConnection['query']
  return { sent, query }
}
