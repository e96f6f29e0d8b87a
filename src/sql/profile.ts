/** How a database cuts SQL text into strings, quoted names and comments. */
export interface SqlProfile {
  /** Characters that open a quoted name, with the one that closes it; that one doubled stands for itself. */
  readonly nameQuotes: Readonly<Record<string, string>>
  /** Characters that open and close a string; doubled they stand for themselves. */
  readonly stringQuotes: string
  /** Whether a backslash in a string hides the next character: always, never, or only after the prefix E. */
  readonly backslashes: 'always' | 'never' | 'after-e'
  /** Whether E'' B'' X'' N'' U&'' U&"" are one token, and a string goes on behind a line break. Default: no. */
  readonly prefixedStrings?: boolean
  /** Whether block comments nest. */
  readonly nestedComments: boolean
  /** MySQL's comments: `#` begins one, `--` only before white space, and what follows `/*!` is run. */
  readonly hashComments: boolean
  /** The characters that end a comment begun by `--`. Default: the line feed alone. */
  readonly lineEnds?: string
  /** Whether `$tag$ … $tag$` is a string, and `$1` a parameter. */
  readonly dollarStrings: boolean
  /** Whether a run of operator characters is one operator; else each stands alone, the default. */
  readonly longOperators?: boolean
  /** Longest name, in bytes of UTF-8. */
  readonly maxNameBytes: number
  /** Quotes a name. @throws TENANCY_ERR_STATEMENT_REFUSED when it holds NUL */
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
  /** Whether types, sequences and policies can be of the user's own. Default: no. */
  readonly namedTypes?: boolean
  /** Whether statements can follow each other without a semicolon. Default: no. */
  readonly unseparated?: boolean
  /** Whether ALTER COLUMN is followed by the column's type. Default: no. */
  readonly altersByType?: boolean
  /** Whether `EXEC sp_rename` renames, which takes names in strings. Default: no. */
  readonly renamesByProcedure?: boolean
  /** Whether later migrations name a constraint that was made without a name (`orders_pkey`). Default: no. */
  readonly namesConstraints?: boolean
}
