import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { type ConfigRow, configReference } from '../../src/config.ts'

/** The page with the table of options. */
export const page = fileURLToPath(new URL('../../docs/configuration.md', import.meta.url))

/** What rewrites the table. */
export const command = 'node --import tsx test/docs/write-configuration.ts'

const begin = '<!-- options: begin -->'
const end = '<!-- options: end -->'

/** The table of options between its markers. */
export function tableOf(rows: readonly ConfigRow[]): string {
  const lines = rows.map((row) => {
    const variable = row.variable === undefined ? 'only in code' : `\`${row.variable}\``
    return [`\`${row.option}\``, variable, row.type, row.default, row.range, row.meaning]
  })
  const header = ['Option', 'Variable', 'Type', 'Default', 'Allowed', 'Meaning']
  const table = [header, header.map(() => '---'), ...lines].map(
    (cells) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`,
  )
  return [begin, '', ...table, '', end].join('\n')
}

/** What the page says now, from marker to marker. */
export function tableIn(text: string): string {
  return text.slice(text.indexOf(begin), text.indexOf(end) + end.length)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const text = readFileSync(page, 'utf8')
  writeFileSync(
    page,
    text.replace(tableIn(text), () => tableOf(configReference())),
  )
}
