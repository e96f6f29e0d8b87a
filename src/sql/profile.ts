/** How a database cuts SQL text into strings, quoted names and comments. */
export interface SqlProfile {
  /** Characters that open a quoted name, with the one that closes it; that one doubled stands for itself. */
  readonly nameQuotes: Readonly<Record<string, string>>
  /** Characters that open and close a string; doubled they stand for themselves. */
  readonly stringQuotes: string
  /** Whether a backslash in a string hides the next character: always, never, or only after the prefix E. */
  readonly backslashes: 'always' | 'never' | 'after-e'
  /** Whether block comments nest. */
  readonly nestedComments: boolean
  /** Whether `#` begins a comment, and `--` only before white space. */
  readonly hashComments: boolean
  /** Whether `$tag$ … $tag$` is a string. */
  readonly dollarStrings: boolean
  /** Longest name, in bytes of UTF-8. */
  readonly maxNameBytes: number
  /** Quotes a name. */
  quoteName(name: string): string
  readonly ddl: DdlRules
}

/** How the DDL of a database names objects. */
export interface DdlRules {
  /** A schema that migrations may write before their own names, and that means nothing: it is dropped. */
  readonly ownSchema?: string
  /** Whether an unquoted name stands for its lower-case form. */
  readonly foldsNames: boolean
  /** Whether an index is an object of the schema, named with it when it is dropped; else it belongs to its table. */
  readonly indexesInSchema: boolean
  /** Whether a new name in RENAME TO must be qualified like the old one. */
  readonly qualifiesRenamed: boolean
}
