import { DdlRefusal } from '../../contracts/migrator.ts'
import type { SqlProfile } from '../profile.ts'
import { type Lexeme, reads } from './lexemes.ts'

/** A name of the tenant's own. `object`: with qualifier and prefix; `name`: with the prefix only. */
export interface FoundName {
  readonly lexeme: Lexeme
  readonly role: 'object' | 'name'
}

/** What {@link findNames} gives. */
export interface FoundNames {
  readonly names: readonly FoundName[]
  /** Lexemes that are left out: the schema that means nothing, with its dot. */
  readonly dropped: readonly Lexeme[]
}

/** Kinds of objects that CREATE, ALTER and DROP may be about. */
const KINDS = new Set(['table', 'view', 'index', 'sequence', 'type', 'domain'])
/** Words between a verb or kind and a name. */
const FILLERS = new Set(['if', 'not', 'exists', 'only', 'concurrently', 'ignore'])
/** Words that end a list of tables, or come where an alias could. */
const NO_ALIAS = new Set(
  'where join inner left right full cross natural straight_join on using group order having limit offset union intersect except set values value returning as window for default select and or when then fetch lateral do conflict duplicate partition add drop rename modify change alter to type'.split(
    ' ',
  ),
)
/** Functions whose arguments are written with FROM. */
const FROM_FUNCTIONS = new Set(['extract', 'substring', 'substr', 'trim', 'overlay', 'position'])
/** Rows and pseudo-tables that the database itself names. */
const ROW_NAMES = ['new', 'old', 'excluded', 'values']
/** Words that a text-scoped migration never needs, and that could reach out of the tenant's names. */
const REFUSED = new Set(
  'trigger function procedure routine event database schema user role grant revoke attach detach inherits tablespace extension server outfile infile language cascade_schema temp temporary regclass'.split(
    ' ',
  ),
)
/** Functions that look an object up by a name in a string. */
const LOOKUPS = new Set(['nextval', 'currval', 'setval', 'pg_get_serial_sequence'])

/**
 * Finds the tenant's own names in one statement by where they stand: after TABLE, REFERENCES, FROM and the like, in the
 * type of a column, and before a dot where the table is known.
 * @throws DdlRefusal for a name with a schema or database, and for what could reach out of the tenant's names
 */
export function findNames(statement: readonly Lexeme[], profile: SqlProfile): FoundNames {
  return new Finder(statement, profile).find()
}

class Finder {
  readonly #all: readonly Lexeme[]
  readonly #profile: SqlProfile
  readonly #names = new Map<Lexeme, FoundName['role']>()
  readonly #dropped = new Set<Lexeme>()
  readonly #tables = new Set<string>()
  readonly #aliases = new Set<string>(ROW_NAMES)

  constructor(statement: readonly Lexeme[], profile: SqlProfile) {
    this.#all = statement
    this.#profile = profile
  }

  find(): FoundNames {
    this.#refuse()
    this.#findCtes()
    for (const at of this.#all.keys()) this.#look(at)
    this.#findQualifiers()
    return {
      names: Array.from(this.#names, ([lexeme, role]) => ({ lexeme, role })),
      dropped: [...this.#dropped],
    }
  }

  #word(at: number): string {
    return this.#all[at]?.word ?? ''
  }

  #refuse(): void {
    for (const [at, { word, string, quoted, text }] of this.#all.entries()) {
      if (!quoted && REFUSED.has(word))
        throw new DdlRefusal(`${word.toUpperCase()}: not in a migration whose names are written per tenant`)
      if (reads(this.#all, at, 'partition', 'of')) throw new DdlRefusal('PARTITION OF')
      if (word === 'into' && this.#word(0) === 'select') throw new DdlRefusal('SELECT INTO')
      if (word === 'like' && this.#isCreateTable() && this.#all[at + 1]?.name !== undefined)
        throw new DdlRefusal('CREATE TABLE … LIKE')
      const looked = string && this.#word(at - 1) === '(' && LOOKUPS.has(this.#all[at - 2]?.name?.toLowerCase() ?? '')
      if (looked) throw new DdlRefusal(`${text} names an object inside a string`)
    }
  }

  #isCreateTable(): boolean {
    return this.#word(0) === 'create' && this.#word(1) === 'table'
  }

  /** Names of WITH are no tables. */
  #findCtes(): void {
    for (const [at, { name }] of this.#all.entries()) {
      if (name === undefined || !['with', 'recursive', ','].includes(this.#word(at - 1))) continue
      let next = at + 1
      if (this.#word(next) === '(') next = this.#closing(next) + 1
      if (this.#word(next) !== 'as') continue
      next++
      if (this.#word(next) === 'not') next++
      if (this.#word(next) === 'materialized') next++
      if (this.#word(next) === '(' && this.#all.some(({ word }) => word === 'with')) this.#aliases.add(key(name))
    }
  }

  #closing(open: number): number {
    const { depth } = this.#all[open] as Lexeme
    const close = this.#all.findIndex((lexeme, at) => at > open && lexeme.word === ')' && lexeme.depth === depth)
    return close < 0 ? this.#all.length : close
  }

  #look(at: number): void {
    const { word, quoted, opener } = this.#all[at] as Lexeme
    if (quoted) return
    const before = this.#word(at - 1)
    if (word === 'from') {
      if (before !== 'distinct' && !FROM_FUNCTIONS.has(opener)) this.#tableList(at + 1)
    } else if (word === 'join' || word === 'into') this.#tableList(at + 1)
    else if (word === 'update' && at === 0) this.#tableList(1)
    else if (word === 'truncate' && at === 0 && this.#word(1) !== 'table') this.#tableList(1)
    else if (word === 'using' && this.#word(0) === 'delete') this.#tableList(at + 1)
    else if (word === 'references') this.#object(at + 1)
    else if (word === 'on' && this.#isIndexTarget(at)) this.#object(at + 1)
    else if (word === 'constraint') this.#plain(at + 1)
    else if (word === 'rename') this.#renamed(at)
    else if (word === 'name' && before === 'sequence') this.#plain(at + 1)
    else if (word === 'key' || word === 'check') this.#tableKey(at)
    else if (word === ':' && before === ':') this.#quotedType(at + 1)
    else if (reads(this.#all, at, 'owned', 'by')) this.#object(at + 2)
    else if (reads(this.#all, at, 'comment', 'on')) this.#commented(at + 2)
    else if (KINDS.has(word)) this.#kind(at)
    if (word === '(' || word === ',') this.#columnType(at)
    if (
      (word === 'column' && ['add', 'alter'].includes(before)) ||
      (word === 'add' && this.#all[at + 1]?.quoted === true)
    ) {
      this.#columnType(at)
    }
  }

  /** `a, b AS c, (select …)`: the tables of FROM, JOIN, INTO, UPDATE and the like. */
  #tableList(from: number): void {
    let at = this.#skipFillers(from)
    for (;;) {
      while (this.#word(at) === '(') at++
      const lexeme = this.#all[at]
      if (lexeme === undefined || lexeme.name === undefined || lexeme.word === 'select' || lexeme.word === 'lateral')
        return
      const isFunction = !lexeme.quoted && this.#word(at + 1) === '(' && !this.#isInsert(from)
      let next = isFunction ? this.#closing(at + 1) + 1 : this.#object(at)
      if (this.#word(next) === 'as') next++
      const alias = this.#all[next]
      if (alias?.name !== undefined && (alias.quoted || !NO_ALIAS.has(alias.word))) {
        this.#aliases.add(key(alias.name))
        next++
      }
      if (this.#word(next) !== ',' || this.#isInsert(from)) return
      at = next + 1
    }
  }

  #isInsert(at: number): boolean {
    return this.#word(at - 1) === 'into'
  }

  /** A table, view, sequence or type, alone or behind the schema that means nothing. Gives the offset after it. */
  #object(from: number, role: FoundName['role'] = 'object'): number {
    let at = this.#skipFillers(from)
    const { ownSchema } = this.#profile.ddl
    if (this.#word(at + 1) === '.' && ownSchema !== undefined && this.#all[at]?.name === ownSchema) {
      this.#dropped.add(this.#all[at] as Lexeme)
      this.#dropped.add(this.#all[at + 1] as Lexeme)
      at += 2
    }
    const lexeme = this.#all[at]
    if (lexeme?.name === undefined) return at
    if (this.#word(at + 1) === '.' && !this.#isColumnOwner(from)) {
      throw new DdlRefusal(
        `${this.#all
          .slice(at, at + 3)
          .map(({ text }) => text)
          .join('')} names a schema or database: a migration of a tenant names its own objects without one`,
      )
    }
    // A name of WITH, which is no table.
    if (role === 'object' && this.#aliases.has(key(lexeme.name))) return at + 1
    this.#names.set(lexeme, role)
    if (role === 'object') this.#tables.add(key(lexeme.name))
    return at + 1
  }

  /** OWNED BY table.column and COMMENT ON COLUMN table.column. */
  #isColumnOwner(at: number): boolean {
    return reads(this.#all, at - 2, 'owned', 'by') || (this.#word(at - 1) === 'column' && this.#word(0) === 'comment')
  }

  #plain(from: number): void {
    const lexeme = this.#all[this.#skipFillers(from)]
    // `CONSTRAINT CHECK (…)` has no name.
    if (
      lexeme?.name === undefined ||
      (!lexeme.quoted && ['check', 'primary', 'unique', 'foreign'].includes(lexeme.word))
    )
      return
    this.#names.set(lexeme, 'name')
  }

  #skipFillers(from: number): number {
    let at = from
    while (this.#all[at]?.quoted === false && FILLERS.has(this.#word(at))) at++
    return at
  }

  /** CREATE, ALTER and DROP of a kind. */
  #kind(at: number): void {
    const verb = this.#word(0)
    const word = this.#word(at)
    if (word === 'type' && verb === 'alter' && this.#word(1) !== 'type') {
      this.#quotedType(at + 1)
      return
    }
    const isSubject = ['create', 'alter', 'drop', 'truncate', 'rename', 'comment'].includes(verb) && this.#isSubject(at)
    if (!isSubject) {
      // ADD INDEX x, and an index inside CREATE TABLE.
      if (word === 'index') this.#tableKey(at)
      return
    }
    const inSchema = word !== 'index' || (this.#profile.ddl.indexesInSchema && verb !== 'create')
    let next = this.#object(at + 1, inSchema ? 'object' : 'name')
    if (verb === 'drop') {
      while (this.#word(next) === ',') next = this.#object(next + 1, inSchema ? 'object' : 'name')
    }
    if (verb !== 'rename') return
    while (['to', ','].includes(this.#word(next))) next = this.#object(next + 1)
  }

  /** Whether the kind at this place is what the statement is about: nothing but modifiers stands before it. */
  #isSubject(at: number): boolean {
    return this.#all
      .slice(1, at)
      .every(
        ({ depth, name, quoted, word }) =>
          depth === 0 && !quoted && (name !== undefined || '=,'.includes(word)) && !KINDS.has(word),
      )
  }

  #isIndexTarget(at: number): boolean {
    if (!['create', 'drop'].includes(this.#word(0)) || (this.#all[at] as Lexeme).depth > 0) return false
    return this.#all.slice(1, 4).some(({ word }) => word === 'index') && this.#word(at - 1) !== 'distinct'
  }

  /** `KEY x (…)`, `INDEX x (…)`, DROP KEY x, DROP CHECK x: a name of the table. */
  #tableKey(at: number): void {
    const lexeme = this.#all[this.#skipFillers(at + 1)]
    if (lexeme?.name === undefined || (this.#word(at) === 'check' && this.#word(at - 1) !== 'drop')) return
    if (lexeme.quoted || (this.#word(at - 1) === 'drop' && !NO_ALIAS.has(lexeme.word))) this.#names.set(lexeme, 'name')
  }

  #renamed(at: number): void {
    if (at === 0) return
    const what = this.#word(at + 1)
    if (what === 'to' || what === 'as') {
      const isTable = this.#word(0) === 'alter' && this.#word(1) === 'table'
      this.#object(at + 2, isTable && this.#profile.ddl.qualifiesRenamed ? 'object' : 'name')
    } else if (what === 'constraint' || what === 'index' || what === 'key') {
      this.#plain(at + 2)
      this.#plain(at + 4)
    }
  }

  #commented(at: number): void {
    const what = this.#word(at)
    if (what === 'column') this.#object(at + 1)
    else if (what === 'constraint') {
      this.#plain(at + 1)
      this.#object(at + 4)
    }
  }

  /** A type of the user: drizzle-kit quotes those, and no other. */
  #quotedType(at: number): void {
    if (this.#all[at]?.quoted === true) this.#object(at)
  }

  /** `"status" "order_status"` in CREATE TABLE or ADD COLUMN: two quoted names in a row are a column and its type. */
  #columnType(at: number): void {
    const [column, type] = [this.#all[at + 1], this.#all[at + 2]]
    if (column?.quoted !== true || type?.quoted !== true) return
    if (this.#isCreateTable() || this.#word(0) === 'alter') this.#object(at + 2)
  }

  /** `"orders"."total"`: the table's own name where it is known, an alias as it is, anything else refused. */
  #findQualifiers(): void {
    for (const [at, lexeme] of this.#all.entries()) {
      if (lexeme.name === undefined || this.#word(at + 1) !== '.' || this.#word(at - 1) === '.') continue
      if (this.#names.has(lexeme) || this.#dropped.has(lexeme)) continue
      if (this.#aliases.has(key(lexeme.name))) continue
      const { ownSchema } = this.#profile.ddl
      const schema = ownSchema !== undefined && lexeme.name === ownSchema && this.#all[at + 2]?.name !== undefined
      if (schema) {
        this.#dropped.add(lexeme)
        this.#dropped.add(this.#all[at + 1] as Lexeme)
        const target = this.#all[at + 2] as Lexeme
        if (this.#tables.has(key(target.name ?? ''))) this.#names.set(target, 'name')
        else throw new DdlRefusal(`${lexeme.text}.${target.text} is not known to be a table of this statement`)
      } else if (this.#tables.has(key(lexeme.name))) this.#names.set(lexeme, 'name')
      else
        throw new DdlRefusal(
          `${lexeme.text}.${this.#all[at + 2]?.text ?? ''} names something that is no table of this statement`,
        )
    }
  }
}

/** Names are compared without case: wrongly equal is refused or fails, wrongly different would be left alone. */
function key(name: string): string {
  return name.toLowerCase()
}
