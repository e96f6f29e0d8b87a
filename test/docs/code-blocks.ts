import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = fileURLToPath(new URL('../..', import.meta.url))

/** One fenced block of TypeScript. */
export interface CodeBlock {
  /** File name for the compiler: what the first line says (`// schema.ts`, `// schema.ts (drizzle-orm 1.0)`), or page and line. */
  readonly file: string
  readonly text: string
  /** Of which drizzle-orm it speaks. */
  readonly drizzle: '0.45' | '1.0'
}

/** What a block without imports may use as if the text around it had said it; only what it uses is added. */
const known: readonly (readonly [name: string, line: string])[] = [
  ['tenancy', `import tenancy from 'fastify-tenancy'`],
  ['getTenantDb', `import { getTenantDb } from 'fastify-tenancy'`],
  ['runWithTenant', `import { runWithTenant } from 'fastify-tenancy'`],
  ['runWithoutTenant', `import { runWithoutTenant } from 'fastify-tenancy'`],
  ['rewriteTenantPath', `import { rewriteTenantPath } from 'fastify-tenancy'`],
  ['Fastify', `import Fastify from 'fastify'`],
  ['Cursor', `import Cursor from 'pg-cursor'`],
  ['orders', `import { orders } from './schema.js'`],
  ['app', `declare const app: import('fastify').FastifyInstance`],
]

/** The pages that a user reads. */
export const pages: readonly string[] = [
  'README.md',
  ...readdirSync(join(root, 'docs'))
    .filter((name) => name.endsWith('.md'))
    .map((name) => join('docs', name)),
]

/** Every TypeScript block of these pages. */
export function codeBlocks(): CodeBlock[] {
  return pages.flatMap((page) => blocksOf(page, readFileSync(join(root, page), 'utf8')))
}

/** The blocks of one page. */
export function blocksOf(page: string, markdown: string): CodeBlock[] {
  return Array.from(markdown.matchAll(/^```ts\n([\s\S]*?)^```$/gm), (match) => {
    const text = match[1] ?? ''
    const line = markdown.slice(0, match.index).split('\n').length + 1
    const [, named, version] = /^\/\/ (?:([\w-]+\.ts)\b ?)?(\(?drizzle-orm 1\.0\)?)?\n/.exec(text) ?? []
    const drizzle = version === undefined ? '0.45' : '1.0'
    return { file: named ?? `${basename(page, '.md')}-line-${line}.ts`, text: completed(text), drizzle }
  })
}

/** A folder outside of the repository in which these files compile and run as those of a user would. */
export function userProject(files: Readonly<Record<string, string>>, drizzle: CodeBlock['drizzle'] = '0.45') {
  const folder = mkdtempSync(join(tmpdir(), 'fastify-tenancy-docs-'))
  mkdirSync(join(folder, 'node_modules'))
  for (const name of readdirSync(join(root, 'node_modules'))) {
    if (!name.startsWith('.')) symlinkSync(join(root, 'node_modules', name), join(folder, 'node_modules', name))
  }
  const orm = join(root, 'node_modules/drizzle-orm-v1')
  const v1 = { 'drizzle-orm': [`${orm}/index.d.ts`], 'drizzle-orm/*': [`${orm}/*.d.ts`] }
  const own = {
    'fastify-tenancy': [join(root, 'src/index.ts')],
    'fastify-tenancy/*': [join(root, 'src/*.ts')],
  }
  const paths = { ...own, ...(drizzle === '1.0' && v1) }
  const compilerOptions = { rootDir: '/', noEmit: true, rewriteRelativeImportExtensions: false, paths }
  const config = { extends: join(root, 'tsconfig.json'), compilerOptions, include: ['*.ts'] }
  const all = { ...files, 'package.json': '{ "type": "module" }', 'tsconfig.json': JSON.stringify(config) }
  for (const [name, text] of Object.entries(all)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true })
    writeFileSync(join(folder, name), text)
  }
  return { folder, remove: () => rmSync(folder, { recursive: true, force: true }) }
}

/** The block with what it takes for granted. One with imports of its own is complete, and must be. */
function completed(text: string): string {
  if (/^import /m.test(text)) return text
  const used = known.filter(([name]) => new RegExp(`\\b${name}\\b`).test(text) && !declares(text, name))
  return [...used.map(([, line]) => line), text, 'export {}\n'].join('\n')
}

function declares(text: string, name: string): boolean {
  return new RegExp(`\\b(?:const|let|function) ${name}\\b`).test(text)
}
