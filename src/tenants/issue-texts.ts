import type { MetadataIssue } from '../contracts/metadata-schema.ts'
import { quoteReceived } from '../util/identifier.ts'

const MAX_ISSUES = 5
const MAX_MESSAGE = 200
/** So much of a value in a row is taken for the value, of which a library may print only the beginning. */
const TELLING = 8

/** Where a value does not fit, each path once. */
export function pathsOf(issues: readonly MetadataIssue[]): string {
  return [...new Set(issues.map(pathOf))].slice(0, MAX_ISSUES).join(', ')
}

/**
 * The same with what the schema says, where that shows nothing of `value`: some libraries put into their texts what they received,
 * and it may be a secret.
 */
export function issueTexts(issues: readonly MetadataIssue[], value: unknown): string {
  const leaves = leavesOf(value)
  const texts = issues.map((issue) => {
    const message = oneLine(typeof issue.message === 'string' ? issue.message : '').slice(0, MAX_MESSAGE)
    return message === '' || shows(message, leaves) ? pathOf(issue) : `${pathOf(issue)} (${message})`
  })
  return [...new Set(texts)].slice(0, MAX_ISSUES).join(', ')
}

function pathOf({ path = [] }: MetadataIssue): string {
  if (path.length === 0) return 'its first level'
  const keys = path.map((part) => String(typeof part === 'object' ? part.key : part))
  return quoteReceived(keys.join('.'))
}

function oneLine(text: string): string {
  return text.replace(/[\s\p{Cc}]+/gu, ' ').trim()
}

function shows(message: string, leaves: readonly string[]): boolean {
  const text = message.toLowerCase()
  return leaves.some((leaf) => (leaf.length < TELLING ? hasWord(text, leaf) : hasPiece(text, leaf)))
}

function hasWord(text: string, word: string): boolean {
  for (let at = text.indexOf(word); at >= 0; at = text.indexOf(word, at + 1)) {
    if (!isWord(text[at - 1]) && !isWord(text[at + word.length])) return true
  }
  return false
}

function isWord(character = ''): boolean {
  return /[\p{L}\p{N}]/u.test(character)
}

function hasPiece(text: string, leaf: string): boolean {
  for (let at = 0; at + TELLING <= text.length; at++) if (leaf.includes(text.slice(at, at + TELLING))) return true
  return false
}

/** Every text and number in a value, as a message might print it. */
function leavesOf(value: unknown): string[] {
  const leaves: string[] = []
  const left = [value]
  while (left.length > 0) {
    const current = left.pop()
    if (typeof current === 'string') leaves.push(...formsOf(current))
    else if (typeof current === 'number') leaves.push(String(current))
    else if (typeof current === 'object' && current !== null) for (const one of Object.values(current)) left.push(one)
  }
  return leaves.filter((leaf) => leaf !== '')
}

/** As it is, on one line, and escaped in quotes. */
function formsOf(text: string): string[] {
  const lower = text.toLowerCase()
  return [...new Set([lower, oneLine(lower), JSON.stringify(lower).slice(1, -1)])]
}
