import { DdlRefusal } from '../../contracts/migrator.ts'
import { type Lexeme, reads } from './ddl-lexemes.ts'

/** Statements that may run as they are; those with objects or settings are looked at more closely below. */
const PLAIN_VERBS = new Set(
  'select insert update delete merge values with truncate lock call analyze refresh create alter drop comment reindex set do'.split(
    ' ',
  ),
)
/** Kinds of objects that live in a schema. */
const OBJECT_KINDS = new Set(
  'table index type view sequence function procedure routine aggregate trigger policy domain statistics column constraint'.split(
    ' ',
  ),
)
/** Words between CREATE and the kind. */
const MODIFIERS = new Set('or replace unlogged unique recursive materialized'.split(' '))
const TRANSACTION_VERBS = new Set('begin start commit end rollback abort savepoint release'.split(' '))
/** What a body in PL/pgSQL may not do either; its own keywords (IF, RETURN, an assignment …) are not in any list. */
const REFUSED_IN_BODY = new Set(
  'grant revoke copy reset discard vacuum cluster prepare deallocate load security import reassign checkpoint listen unlisten notify explain show'.split(
    ' ',
  ),
)
/** Settings that decide which tenant's objects a name means, or how SQL is read. */
const REFUSED_SETTINGS = new Set(
  'search_path role session_authorization session schema standard_conforming_strings backslash_quote client_encoding names'.split(
    ' ',
  ),
)
/**
 * Functions that run a text that they are given, and the view whose UPDATE is SET. Also where they are only named: an aggregate calls its
 * functions with the rights of its owner.
 */
const RUNS_TEXT =
  /^(?:(?:query|cursor|table|schema|database)_to_xml\w*|ts_stat|ts_rewrite|dblink\w*|xpath_table|crosstab\w*|connectby|pg_settings)$/
/** What a superuser would show everybody in a view: values of all tenants' rows, large objects, and passwords. */
const SHOWS_ALL =
  /^(?:pg_statistic|pg_statistic_ext_data|pg_largeobject|pg_authid|pg_shadow|pg_user_mappings?|pg_subscription)$/

/**
 * Looks at one statement, or one piece of a PL/pgSQL body.
 * @throws DdlRefusal for what must not run inside a tenant's schema, and outside PL/pgSQL for every unknown statement
 */
export function checkVerb(lexemes: readonly Lexeme[], inPlpgsql: boolean): void {
  const verb = lexemes[0]?.word ?? ''
  if (inPlpgsql && isAssignment(lexemes)) return
  if (TRANSACTION_VERBS.has(verb) && !(inPlpgsql && (verb === 'begin' || verb === 'end'))) {
    throw new DdlRefusal(`transaction control (${verb.toUpperCase()}): a migration runs inside one transaction`)
  }
  if (inPlpgsql ? REFUSED_IN_BODY.has(verb) : !PLAIN_VERBS.has(verb)) {
    throw new DdlRefusal(`a statement that begins with ${lexemes[0]?.token.text.slice(0, 40)}`)
  }
  if (verb === 'set') checkSet(lexemes)
  if (verb === 'create' || verb === 'alter' || verb === 'drop') checkDdl(lexemes, verb)
  if (verb === 'comment') checkKind(lexemes, 2, 'COMMENT ON')
  if (verb === 'reindex') checkKind(lexemes, lexemes[1]?.word === '(' ? lexemes.length : 1, 'REINDEX')
}

/** Looks at one place of any statement. @throws DdlRefusal */
export function checkAnywhere(lexemes: readonly Lexeme[], at: number, inPlpgsql: boolean): void {
  const { name, word } = lexemes[at] as Lexeme
  if (name === 'set_config') checkSetConfig(lexemes.slice(at + 1))
  if (name !== undefined && RUNS_TEXT.test(name)) {
    throw new DdlRefusal(`${name}: what it runs is built at run time, which cannot be checked`)
  }
  if (name !== undefined && SHOWS_ALL.test(name)) throw new DdlRefusal(`${name}: it holds what belongs to all tenants`)
  if (reads(lexemes, at, 'begin', 'atomic')) {
    throw new DdlRefusal('BEGIN ATOMIC: write the body of the function as AS $$ … $$')
  }
  if (inPlpgsql && word === 'execute' && lexemes[at - 1]?.word !== '.' && !isTriggerAction(lexemes, at + 1)) {
    throw new DdlRefusal('EXECUTE of text built at run time, which cannot be checked')
  }
}

/** True for `CREATE SCHEMA "public"`, which drizzle-kit may write and which means nothing in a tenant's schema. */
export function isCreatePublic(lexemes: readonly Lexeme[]): boolean {
  const names = lexemes.filter((_, at) => !reads(lexemes, 2, 'if', 'not', 'exists') || at < 2 || at > 4)
  return reads(names, 0, 'create', 'schema') && names[2]?.name === 'public' && names.length === 3
}

/** True when the statement makes or changes a function or procedure. */
export function isRoutine(lexemes: readonly Lexeme[]): boolean {
  const kind = lexemes[kindAt(lexemes, 1)]?.word
  return kind === 'function' || kind === 'procedure' || kind === 'routine'
}

function checkDdl(lexemes: readonly Lexeme[], verb: string): void {
  checkKind(lexemes, 1, verb.toUpperCase())
  const routine = isRoutine(lexemes)
  for (const [at, { word, depth }] of lexemes.entries()) {
    if (reads(lexemes, at, 'security', 'definer'))
      throw new DdlRefusal('SECURITY DEFINER: it runs with the rights of the admin role')
    if (depth > 0) continue
    if (word === 'concurrently')
      throw new DdlRefusal('CONCURRENTLY: it cannot run inside a transaction, and a migration is one')
    if (reads(lexemes, at, 'set', 'schema')) throw new DdlRefusal(`${verb.toUpperCase()} … SET SCHEMA`)
    if (reads(lexemes, at, 'all', 'in', 'tablespace')) throw new DdlRefusal(`${verb.toUpperCase()} ALL IN TABLESPACE`)
    if (reads(lexemes, at, 'owner', 'to')) throw new DdlRefusal(`${verb.toUpperCase()} … OWNER TO`)
    if (routine && word === 'reset') throw new DdlRefusal('RESET of a setting')
    // The path of a migration is the tenant's; its role is not.
    const current = reads(lexemes, at + 2, 'from', 'current') && lexemes[at + 1]?.name?.toLowerCase() === 'search_path'
    if (routine && word === 'set' && !current) checkSetting(lexemes[at + 1])
  }
}

function checkKind(lexemes: readonly Lexeme[], from: number, verb: string): void {
  const kind = lexemes[kindAt(lexemes, from)]
  if (kind === undefined || !OBJECT_KINDS.has(kind.word)) {
    throw new DdlRefusal(`${verb} ${kind?.token.text.toUpperCase().slice(0, 40) ?? ''}`.trim())
  }
}

function kindAt(lexemes: readonly Lexeme[], from: number): number {
  let at = from
  while (MODIFIERS.has(lexemes[at]?.word ?? '')) at++
  return reads(lexemes, at, 'constraint', 'trigger') ? at + 1 : at
}

function checkSet(lexemes: readonly Lexeme[]): void {
  if (lexemes[1]?.word === 'constraints') return
  checkSetting(lexemes[lexemes[1]?.word === 'local' || lexemes[1]?.word === 'session' ? 2 : 1])
  if (lexemes[1]?.word !== 'local') {
    throw new DdlRefusal('SET without LOCAL: it would outlive the migration on its connection')
  }
}

function checkSetting(setting: Lexeme | undefined): void {
  const name = setting?.name?.toLowerCase()
  if (name === undefined || REFUSED_SETTINGS.has(name)) throw new DdlRefusal(`SET ${name ?? ''}`.trim())
}

function checkSetConfig([opening, argument, after]: readonly Lexeme[]): void {
  const text = argument?.token.text ?? ''
  const plain =
    opening?.word === '(' && argument?.token.kind === 'string' && text.startsWith("'") && after?.word === ','
  if (plain && !REFUSED_SETTINGS.has(text.slice(1, -1).trim().toLowerCase())) return
  throw new DdlRefusal(plain ? `set_config(${text}, …)` : 'set_config of a setting that is not a plain string')
}

/** After these a statement begins in PL/pgSQL; CREATE is a reserved word, so it can be nothing else there. */
const BEFORE_STATEMENT = new Set(['begin', 'then', 'else', 'loop'])

/** Whether `at` is where CREATE TRIGGER names its function. Elsewhere both words may be variables, with a text to be run. */
function isTriggerAction(lexemes: readonly Lexeme[], at: number): boolean {
  const word = lexemes[at]?.word
  if (word !== 'function' && word !== 'procedure') return false
  const from = lexemes.findLastIndex((lexeme, index) => index < at && lexeme.word === 'create')
  if (from < 0 || (from > 0 && !BEFORE_STATEMENT.has(lexemes[from - 1]?.word ?? ''))) return false
  if (lexemes[kindAt(lexemes, from + 1)]?.word !== 'trigger') return false
  const name = reads(lexemes, at + 2, '.') ? at + 3 : at + 1
  return lexemes[name]?.name !== undefined && lexemes[name + 1]?.word === '('
}

function isAssignment(lexemes: readonly Lexeme[]): boolean {
  return [':=', '=', '.', '['].includes(lexemes[1]?.word ?? '')
}
