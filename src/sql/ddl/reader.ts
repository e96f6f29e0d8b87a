import { DdlRefusal } from '../../contracts/migrator.ts'
import type { Naming } from '../naming.ts'
import type { SqlProfile } from '../profile.ts'
import { type Lexeme, reads } from './lexemes.ts'
import { beginsStatement } from './next-statement.ts'
import type { SharedNames } from './shared-names.ts'
import { objectName, ownName } from './written-names.ts'

/** A place of the text where each tenant has something else. */
export interface Edit {
  readonly start: number
  readonly end: number
  write(naming: Naming): string
}

/** How names are written, and which of them are nobody's own. */
export interface Dialect {
  readonly profile: SqlProfile
  readonly shared?: SharedNames | undefined
}

/** `object`: with qualifier and prefix; `name`: with the prefix only. */
export type Role = 'object' | 'name'

/** Where a name was written that stands for a table or an alias, before a dot. */
interface Qualifier {
  readonly lexeme: Lexeme
  readonly text: string
}

/** Words between a verb or kind and a name. */
const FILLERS = [['if', 'not', 'exists'], ['if', 'exists'], ['only'], ['concurrently']] as const

/**
 * Walks over the lexemes of one statement, and collects what must be written for each tenant. A name is a table or an
 * alias for the whole statement: one that is both is refused, so that `a.b` can only mean one thing.
 */
export class Reader {
  readonly profile: SqlProfile
  readonly edits: Edit[] = []
  /** Names of WITH that are known here. */
  readonly ctes: string[] = []
  readonly #aliases = new Set<string>(['excluded'])
  readonly #lexemes: readonly Lexeme[]
  readonly #tables = new Set<string>()
  readonly #qualifiers: Qualifier[] = []
  readonly #readQuery: (reader: Reader) => void
  readonly #shared: SharedNames | undefined
  #at = 0

  /** `readQuery` reads a query up to the `)` or the end: queries and expressions hold each other. */
  constructor(lexemes: readonly Lexeme[], { profile, shared }: Dialect, readQuery: (reader: Reader) => void) {
    this.#lexemes = lexemes
    this.profile = profile
    this.#shared = shared
    this.#readQuery = readQuery
  }

  /** Reads a query, if one comes next. */
  takeQuery(): boolean {
    const found = this.is('select') || this.is('with')
    if (found) this.#readQuery(this)
    return found
  }

  /** The lexeme `offset` places from here. */
  peek(offset = 0): Lexeme | undefined {
    return this.#lexemes[this.#at + offset]
  }

  /** The unquoted word or punctuation `offset` places from here; empty for anything else. */
  word(offset = 0): string {
    return this.peek(offset)?.word ?? ''
  }

  /** Whether these words come next. */
  is(...words: readonly string[]): boolean {
    return reads(this.#lexemes, this.#at, ...words)
  }

  /** Steps over these words if they come next. */
  take(...words: readonly string[]): boolean {
    const found = this.is(...words)
    if (found) this.#at += words.length
    return found
  }

  /** Steps over these words. @throws DdlRefusal when something else comes */
  expect(...words: readonly string[]): void {
    if (!this.take(...words)) this.refuse()
  }

  /** Steps over one lexeme. @throws DdlRefusal at the end */
  next(): Lexeme {
    const lexeme = this.peek()
    if (lexeme === undefined) this.refuse()
    this.#at++
    return lexeme
  }

  /** @throws DdlRefusal that names what comes next, or `what` */
  refuse(what?: string): never {
    const found = this.peek()
    const before = this.#lexemes.slice(Math.max(0, this.#at - 3), this.#at).map(({ text }) => text.slice(0, 40))
    const place = before.length === 0 ? '' : ` after ${before.join(' ')}`
    throw new DdlRefusal(what ?? `${found?.text.slice(0, 40) ?? 'the end of the statement'}${place} is not understood`)
  }

  skipFillers(): void {
    while (FILLERS.some((words) => this.take(...words)));
  }

  /** A name, quoted or not. A string is none, although some databases take it for one. */
  plainName(): Lexeme & { readonly name: string } {
    const lexeme = this.peek()
    if (lexeme?.name === undefined) this.refuse()
    if (this.profile.ddl.unseparated === true && beginsStatement(lexeme.word)) this.refuse()
    this.#at++
    return { ...lexeme, name: lexeme.name }
  }

  /**
   * The name of an object of the tenant's own, alone or behind the schema that means nothing.
   * @throws DdlRefusal behind any other schema or database
   */
  object(role: Role = 'object'): string {
    const { ownSchema } = this.profile.ddl
    let lexeme = this.plainName()
    if (ownSchema !== undefined && lexeme.name === ownSchema && this.word() === '.') {
      this.#drop(lexeme)
      this.#drop(this.next())
      lexeme = this.plainName()
    }
    if (this.word() === '.') {
      throw new DdlRefusal(
        `${lexeme.text}.${this.peek(1)?.text ?? ''} names a schema or database: a migration of a tenant names its own objects without one`,
      )
    }
    if (role === 'object' && this.#shared?.knows(lexeme.name) === true) this.#shared.refuse(lexeme.name)
    this.rename(lexeme, role)
    return lexeme.name
  }

  /** What stands behind REFERENCES: a table of the tenant's own, or one that all share. */
  referenced(): void {
    const shared = this.#shared
    const [first, qualified] = [this.peek(), this.word(1) === '.']
    const target = qualified ? this.peek(2) : first
    const means = !qualified || [this.profile.ddl.ownSchema, shared?.schema].includes(first?.name)
    if (first === undefined || target?.name === undefined || !means || shared?.knows(target.name) !== true) {
      return void this.object()
    }
    this.#at += qualified ? 3 : 1
    const name = shared.reference(target.name, this.#changesRows(first.depth))
    if (this.word() === '.') this.refuse()
    this.edits.push({ start: first.start, end: target.end, write: () => name })
  }

  /** Whether the foreign key that goes on here says CASCADE or SET behind ON DELETE or ON UPDATE. */
  #changesRows(depth: number): boolean {
    for (let at = 0; ; at++) {
      const lexeme = this.peek(at)
      if (lexeme === undefined || lexeme.depth < depth || (lexeme.depth === depth && lexeme.word === ',')) return false
      if (lexeme.word !== 'on' || !['delete', 'update'].includes(this.word(at + 1))) continue
      if (['cascade', 'set'].includes(this.word(at + 2))) return true
    }
  }

  /** A table that this statement knows by its own name from here on. */
  table(): string {
    const name = this.object()
    this.knowTable(name)
    return name
  }

  /** Writes something before what comes next. */
  insert(write: Edit['write']): void {
    const { start } = this.peek() ?? this.refuse()
    this.edits.push({ start, end: start, write })
  }

  /** `table.column`, where the table stands nowhere else. */
  columnOfTable(): void {
    const { ownSchema } = this.profile.ddl
    if (this.word(3) === '.' && this.peek()?.name === ownSchema) {
      this.#drop(this.next())
      this.#drop(this.next())
    }
    this.rename(this.plainName(), 'object')
    this.expect('.')
    this.plainName()
    if (this.word() === '.') this.refuse()
  }

  knowTable(name: string): void {
    this.#tables.add(key(name))
  }

  knowAlias(name: string): void {
    this.#aliases.add(key(name))
  }

  rename({ start, end, name = '' }: Lexeme, role: Role): void {
    const { profile } = this
    const write = role === 'object' ? objectName : ownName
    this.edits.push({ start, end, write: (naming) => write(name, naming, profile) })
  }

  /** Names before a dot are looked at when all tables and aliases are known. */
  qualifier(lexeme: Lexeme): void {
    this.#qualifiers.push({ lexeme, text: `${lexeme.text}.${this.peek(1)?.text ?? ''}` })
  }

  /** Drops the schema that means nothing from `public.orders.total`. */
  dropOwnSchema(): void {
    this.#drop(this.next())
    this.#drop(this.next())
  }

  /** After the last lexeme. @throws DdlRefusal for a name before a dot that is no table, or a table and an alias */
  finish(): void {
    const both = [...this.#tables].find((name) => this.#aliases.has(name))
    if (both !== undefined) {
      throw new DdlRefusal(`${both} is a table and an alias in one statement: give the alias another name`)
    }
    for (const { lexeme, text } of this.#qualifiers) {
      const name = key(lexeme.name ?? '')
      if (this.#tables.has(name)) this.rename(lexeme, 'name')
      else if (!this.#aliases.has(name)) {
        throw new DdlRefusal(`${text} names a schema, a database, or no table of this statement`)
      }
    }
  }

  #drop({ start, end }: Lexeme): void {
    this.edits.push({ start, end, write: () => '' })
  }
}

/** Names are compared without case: wrongly equal is refused or fails, wrongly different would be left alone. */
export function key(name: string): string {
  return name.toLowerCase()
}
