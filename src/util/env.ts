/** What the text of an environment variable stands for. */
export type TextKind = 'text' | 'integer' | 'boolean' | 'list' | 'json'

/** First part of the name of every variable. */
export const PREFIX = 'TENANCY_'

const booleans: Readonly<Record<string, boolean>> = {
  true: true,
  1: true,
  yes: true,
  on: true,
  false: false,
  0: false,
  no: false,
  off: false,
}

const readers: Readonly<Record<TextKind, (text: string) => unknown>> = {
  text: (text) => text,
  integer: (text) => (/^[+-]?\d+$/.test(text) ? Number(text) : text),
  boolean: (text) => (Object.hasOwn(booleans, text.toLowerCase()) ? booleans[text.toLowerCase()] : text),
  list: (text) => (text.startsWith('[') ? fromJson(text) : fromCommas(text)),
  json: fromJson,
}

/** The variable of a camelCase option: `l1CacheMaxSize` → `TENANCY_L1_CACHE_MAX_SIZE`. */
export function variableName(option: string): string {
  return `${PREFIX}${option.replace(/[A-Z]/g, '_$&').toUpperCase()}`
}

/**
 * The value that `text` stands for; `undefined` for blank text, which means "not set". Text that is no such value comes
 * back trimmed and unchanged, for the schema to refuse.
 */
export function fromText(text: string | undefined, kind: TextKind): unknown {
  const trimmed = text?.trim()
  if (trimmed === undefined || trimmed === '') return undefined
  return readers[kind](trimmed)
}

/** The candidate most like `word`, for "did you mean"; `undefined` if none is. Case, `_` and prefix do not count. */
export function closest(word: string, candidates: readonly string[]): string | undefined {
  const near = candidates
    .map((candidate) => ({ candidate, distance: distanceOf(plain(word), plain(candidate)) }))
    .filter(({ candidate, distance }) => distance <= Math.max(1, Math.floor(plain(candidate).length / 3)))
  return near.sort((left, right) => left.distance - right.distance)[0]?.candidate
}

function fromJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

function fromCommas(text: string): string[] {
  return text
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '')
}

function plain(word: string): string {
  return word
    .toLowerCase()
    .replace(/^tenancy_/, '')
    .replaceAll('_', '')
}

/** Edits (insert, remove, replace) between two words. */
function distanceOf(left: string, right: string): number {
  let row = Array.from({ length: right.length + 1 }, (_, index) => index)
  for (const [index, letter] of left.split('').entries()) {
    const next = [index + 1]
    for (const [column, other] of right.split('').entries()) {
      const replace = (row[column] ?? 0) + (letter === other ? 0 : 1)
      next.push(Math.min(replace, (row[column + 1] ?? 0) + 1, (next[column] ?? 0) + 1))
    }
    row = next
  }
  return row.at(-1) ?? 0
}
