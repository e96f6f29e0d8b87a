import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { statementKind } from '../../../src/dialects/mssql/statement-kind.ts'

const kindOf = (text: string) => statementKind(text).kind

describe('plain', () => {
  it.each([
    'select 1',
    'SELECT [a] FROM [__tenant__].[t] WHERE [b] = @par0',
    '  (select 1)',
    ';with [c] as (select 1 as [x]) select * from [c]',
    'insert into [__tenant__].[t] ([a]) output INSERTED.[id] values (@par0)',
    'update [__tenant__].[t] set [price] = @par0 where [id] = @par1',
    'update t set a = 1',
    'update t set a += 1',
    'update t set t.a = 1',
    'update t set /* c */ a = 1',
    'delete from [t] where [executed] = 1',
    'merge into [t] using (select 1 as x) s on s.x = [t].[x] when matched then update set [y] = 1;',
    'select top(@par0) [use], [set], "exec", [drop] from [t]',
    "select 'exec sp_who; drop table x', N'set', '#' from [t]",
    'select 1 /* exec */ -- drop table x',
    'select 1 -- it’s',
    "select N'ü' from [straße]",
    'select straße from [t]',
    'select [created_at], updated_at, notification, deleted from t',
    "select 1 from t option (use hint(N'FORCE_ORDER'))",
    'select @@rowcount',
    'insert into [t] ([a]) values (1); select scope_identity() as id',
    'select t.throw, t.[throw] from t',
    'select sysutcdatetime(), system_user',
    'select [x].[y] from [t] [x] order by [y] offset 0 rows fetch next 5 rows only',
    'select * from openjson(@par0) with (a int)',
    "select [a] from [t] where b = 'carriage\r'",
  ])('%j', (text) => {
    expect(statementKind(text)).toEqual({ kind: 'plain' })
  })
})

describe('savepoints of Drizzle', () => {
  it.each([
    ['save transaction sp1', 'savepoint'],
    ['SAVE TRAN sp12;', 'savepoint'],
    ['rollback transaction sp1', 'rollback-to'],
    ['ROLLBACK TRAN tenancy_3', 'rollback-to'],
  ])('%s', (text, kind) => {
    expect(kindOf(text)).toBe(kind)
  })
})

const refusedStatements = [
  '',
  ';',
  '-- nothing',
  'exec sp_who',
  'EXECUTE sp_who',
  "sp_set_session_context N'k', N'v'",
  "exec sp_set_session_context @key = N'app.current_tenant', @value = N'x'",
  'set nocount on',
  'SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED',
  'set context_info 0x01',
  'set identity_insert [t] on',
  'use master',
  'begin transaction',
  'begin tran',
  'commit',
  'COMMIT TRANSACTION',
  'rollback',
  'rollback transaction',
  'rollback work',
  'save transaction [sp 1]',
  'create table t (x int)',
  'create table #t (x int)',
  'drop table t',
  'alter table t add x int',
  'truncate table t',
  'grant select on t to u',
  'deny select on t to u',
  'declare @x int',
  'if 1 = 1 select 1',
  'while 1 = 1 select 1',
  "waitfor delay '1'",
  'print 1',
  "throw 50000, 'x', 1",
  "raiserror('x', 16, 1)",
  'kill 51',
  'dbcc opentran',
  'backup database x to disk = 1',
  "bulk insert t from 'x'",
  'revert',
  'setuser',
  'shutdown',
  'explain select 1',
  'values (1)',
  // Nothing separates statements there.
  "select 1 exec sp_set_session_context N'k', N'v'",
  "select 1 exec('drop table x')",
  'select 1;exec sp_who',
  'select 1\nuse master',
  'select 1 use [master]',
  'select 1 set nocount on',
  'select 1 SET/**/rowcount 1',
  'select 1 set rowcount -1',
  'select 1 set language us_english',
  'update t set a = 1 commit',
  'update t set a = 1 set rowcount 1',
  'delete from t begin tran',
  'select 1 rollback',
  'select 1 save tran x',
  'select 1 declare @x int',
  "select 1; throw 51931, N'x', 1",
  'select 1 drop table t',
  'insert into t exec sp_who',
  "insert t execute('select 1')",
  'with x as (select 1 a) select * from x exec sp_who',
  // Words that touch a number or a sign.
  'select 1exec sp_who',
  'select 1eexec sp_who',
  'select 0x41exec sp_who',
  'select $exec sp_who',
  'select $1exec sp_who',
  'select 1.exec sp_who',
  'select £1exec sp_who',
  'select £exec sp_who',
  'select 1,exec sp_who',
  'select(1)exec sp_who',
  "select 'a'exec sp_who",
  'select [a]exec sp_who',
  'select "a"exec sp_who',
  // White space that is none elsewhere.
  'select 1 exec\u00a0sp_who',
  'select 1\u00a0exec\u00a0sp_who',
  'select 1 exec\u3000sp_who',
  'select 1 exec\u2003sp_who',
  'select 1 exec\u0001sp_who',
  'select 1\u0085exec sp_who',
  'select 1 from t\u00a0where x = 1',
  // Comments and strings that end elsewhere.
  "select '\\' exec sp_who --'",
  "select E'\\' exec sp_who --'",
  'select 1 /* /* */ */ exec sp_who',
  'select 1 -- a\nexec sp_who',
  'select 1 -- a\rexec sp_who',
  "select 'exec",
  'select [exec',
  'select /* exec',
  // Temporary tables live longer than the statement.
  'select * into #t from t',
  'select * into ##t from t',
  'select * into [#t] from t',
  'select * from ##t',
  'select * from tempdb..[##t]',
  // What is everybody's.
  'select @@identity',
  'select @@IDENTITY as id',
  'select * from sys.objects',
  'select * from [sys].[objects]',
  'select * from "sys".tables',
  'select * from master.sys.databases',
  'select * from INFORMATION_SCHEMA.TABLES',
  'select * from [information_schema].[tables]',
  'select * from sys . objects',
  "select * from openrowset('a', 'b', 'c')",
  "select * from openquery(a, 'b')",
  "select * from opendatasource('a', 'b').c.d.e",
]

describe('refused', () => {
  it.each(refusedStatements)('%j', (text) => {
    expect(kindOf(text)).toBe('refused')
  })

  it('whatever the case and what is before it', () => {
    const piece = fc.constantFrom(
      'select 1',
      'select [a] from [t]',
      "select 'x'",
      'delete from [t] where a = 1',
      'update t set a = 1',
    )
    const between = fc.constantFrom(' ', '\n', ';', '; ', '\t', ' /* x */ ', ' -- x\n', '\r\n')
    const bad = fc.constantFrom(
      ...'exec sp_who|execute sp_who|use master|commit|rollback|begin tran|set nocount on|create table x (y int)|drop table x|alter table x add y int|declare @x int|truncate table x|grant select on x to y|kill 1|save tran y|deny select on x to y|if 1 = 1 select 2|while 1 = 1 select 2|revert|dbcc x|print 1|goto x|shutdown'.split(
        '|',
      ),
    )
    const cased = fc.tuple(bad, fc.infiniteStream(fc.boolean())).map(([text, upper]) => {
      const each = upper[Symbol.iterator]()
      return text
        .split('')
        .map((one) => (each.next().value === true ? one.toUpperCase() : one))
        .join('')
    })
    fc.assert(
      fc.property(piece, between, cased, (before, space, text) => {
        expect(kindOf(before + space + text)).toBe('refused')
      }),
    )
  })

  it('never for what is only in strings, quoted names and comments', () => {
    const content = fc.constantFrom(
      'exec sp_who',
      'use master',
      '#t',
      'commit',
      'sys.objects',
      '@@identity',
      'drop table x',
      "it's",
      'a]b',
      '"',
    )
    const hidden = fc.oneof(
      content.map((text) => `'${text.replaceAll("'", "''")}'`),
      content.map((text) => `N'${text.replaceAll("'", "''")}'`),
      content.filter((text) => !text.startsWith('#')).map((text) => `[${text.replaceAll(']', ']]')}]`),
      content.filter((text) => !text.startsWith('#')).map((text) => `"${text.replaceAll('"', '""')}"`),
    )
    fc.assert(
      fc.property(fc.array(hidden, { minLength: 1, maxLength: 5 }), content, (values, comment) => {
        expect(statementKind(`select ${values.join(', ')} /* ${comment} */ -- ${comment}`)).toEqual({ kind: 'plain' })
      }),
    )
  })

  it('reads any text without failing', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 80, unit: 'binary' }), (text) => {
        expect(['plain', 'refused', 'savepoint', 'rollback-to']).toContain(kindOf(`select ${text}`))
      }),
      { numRuns: 2000 },
    )
  })
})
