import { posix } from 'node:path'

/** The files of `src` by path relative to it, with their text. */
export type Sources = ReadonlyMap<string, string>

/** One import of a file, as written; `text` is the statement up to the specifier. */
interface Import {
  readonly specifier: string
  /** `import type`, `import('…').Type` in a type is not told from a dynamic import and counts as one. */
  readonly kind: 'type' | 'static' | 'dynamic'
}

/** Where a file stands: rows from the ground up; inside a row, `order`. Equal order means: must not import each other. */
interface Place {
  readonly group: string
  readonly row: number
  readonly order: number
}

/** The layers of docs/architecture.md §2, from the ground up. `src` stands for the files directly in `src`. */
const rows: readonly (readonly (readonly string[])[])[] = [
  [['errors.ts'], ['contracts', 'events.ts'], ['util']],
  [['resolvers', 'tenants', 'cache', 'encryption', 'connections', 'sql', 'context.ts'], ['verification']],
  [['isolation', 'dialects']],
  [['migrations']],
  [['lifecycle', 'admission']],
  [['addons']],
  [['src'], ['cli', 'testing']],
]

/** Children of these know nothing of each other. */
const rivals = ['dialects', 'addons']

const places: ReadonlyMap<string, Place> = new Map(
  rows.flatMap((orders, row) =>
    orders.flatMap((groups, order) => groups.map((group) => [group, { group, row, order }] as const)),
  ),
)

/** Packages that only one kind of folder may import, types included. */
const confined: readonly { readonly packages: RegExp; readonly folder: RegExp; readonly where: string }[] = [
  {
    packages:
      /^(pg|pg-.*|postgres|@electric-sql\/.*|mysql2|mssql|better-sqlite3|@libsql\/.*)(\/|$)|^drizzle-orm\/(node-postgres|postgres-js|pglite|mysql2|node-mssql|libsql|better-sqlite3)(\/|$)/,
    folder: /^dialects\/[^/]+\/drivers\//,
    where: 'dialects/*/drivers',
  },
  { packages: /^(lru-cache|ioredis|redis)(\/|$)/, folder: /^cache\//, where: 'cache' },
]

/** What the user may not have installed, or have in a version without that entry: loaded when needed. */
const optional = /^(drizzle-orm|pg|@electric-sql\/pglite|@libsql\/client|better-sqlite3|ioredis|mysql2|mssql)(\/|$)/

/** One sentence for every breach of the layers. `packages` are those that package.json declares for users. */
export function layerBreaches(sources: Sources, packages: ReadonlySet<string>): string[] {
  return [...sources].flatMap(([file, text]) => {
    const place = placeOf(file)
    if (place === undefined) return [`${file}: has no layer`]
    if (!file.endsWith('.ts')) return [`${file}: is no TypeScript`]
    const computed = /\bimport\s*\(\s*[^\s'"]/.test(withoutComments(text)) ? [`${file}: imports a computed name`] : []
    const found = importsOf(text).flatMap((one) => breachOf(file, place, one, sources, packages) ?? [])
    return [...computed, ...found.map((breach) => `${file}: ${breach}`)]
  })
}

function breachOf(
  file: string,
  from: Place,
  { specifier, kind }: Import,
  sources: Sources,
  packages: ReadonlySet<string>,
): string | undefined {
  if (specifier.startsWith('node:')) return undefined
  if (!specifier.startsWith('.')) return packageBreach(file, specifier, kind, packages)
  const target = posix.join(posix.dirname(file), specifier)
  if (!sources.has(target)) return `imports ${specifier}, which is not in src`
  const to = placeOf(target)
  if (to === undefined) return `imports ${target}, which has no layer`
  if (to.group !== from.group) {
    if (to.row > from.row || (to.row === from.row && to.order > from.order)) return `imports ${target}, which is above`
    if (to.row === from.row && to.order === from.order) return `imports ${target}, which is beside it`
    return undefined
  }
  const [mine, theirs] = [childOf(file), childOf(target)]
  if (!rivals.includes(from.group) || theirs === undefined || mine === theirs) return undefined
  return `imports ${target}, which is a rival`
}

function packageBreach(
  file: string,
  specifier: string,
  kind: Import['kind'],
  packages: ReadonlySet<string>,
): string | undefined {
  const name = /^(@[^/]+\/)?[^/]+/.exec(specifier)?.[0] ?? ''
  if (!packages.has(name)) return `imports ${specifier}, which package.json does not declare`
  const rule = confined.find((one) => one.packages.test(specifier))
  if (rule !== undefined && !rule.folder.test(file)) return `imports ${specifier}, which belongs in ${rule.where}`
  if (kind === 'static' && optional.test(specifier)) return `imports ${specifier} eagerly, which users may not have`
  return undefined
}

function placeOf(file: string): Place | undefined {
  const [first = '', ...rest] = file.split('/')
  return places.get(first) ?? (rest.length === 0 ? places.get('src') : undefined)
}

/** The rival a file belongs to: the folder below `dialects`. */
function childOf(file: string): string | undefined {
  const parts = file.split('/')
  return parts.length > 2 ? parts[1] : undefined
}

function importsOf(text: string): Import[] {
  const code = withoutComments(text)
  const statics = code.matchAll(/\b(?:import|export)\s+(type\s+)?[\w\s{},*$]*?\bfrom\s*(['"])(.+?)\2/g)
  const effects = code.matchAll(/\bimport\s*(['"])(.+?)\1/g)
  const calls = code.matchAll(/\b(?:import|require|resolve)\s*\(\s*(['"])(.+?)\1/g)
  const modules = code.matchAll(/\bdeclare\s+module\s*(['"])(\..+?)\1/g)
  return [
    ...Array.from(statics, ([, type, , specifier = '']): Import => ({ specifier, kind: type ? 'type' : 'static' })),
    ...Array.from(effects, ([, , specifier = '']): Import => ({ specifier, kind: 'static' })),
    ...Array.from(calls, ([, , specifier = '']): Import => ({ specifier, kind: 'dynamic' })),
    ...Array.from(modules, ([, , specifier = '']): Import => ({ specifier, kind: 'type' })),
  ]
}

/** Strings are matched too, so that `//` in a URL begins no comment. TypeScript 7 has no compiler API to ask. */
function withoutComments(text: string): string {
  const pieces = /('(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`)|\/\/[^\n]*|\/\*[\s\S]*?\*\//g
  return text.replace(pieces, (_all, string: string | undefined) => string ?? ' ')
}
