import { expect, it } from 'vitest'
import { statementKind } from '../../../src/dialects/postgres/statement-kind.ts'

const changes = (text: string) => (statementKind(text) as { changes?: string }).changes

it.each([
  'create temp table report (id int)',
  'CREATE LOCAL TEMPORARY TABLE report (id int)',
  'create or replace temp view v as select 1',
  'select owner into temp report from orders',
  'with o as (select 1 as n) select n into /* ! */ temporary table report from o',
  'explain analyze create temp table report as select 1',
  'create table pg_temp.report (id int)',
  'create table "pg_temp_3".report (id int)',
  'do $$ begin create temp table report (id int); end $$',
])('%s changes the session', (text) => expect(changes(text)).toBeDefined())

it.each([
  'select temp from readings',
  'select * from "temp"',
  'insert into temp values (1)',
  'with w as (insert into temporary values (1) returning 1) select * from w',
  `select 'into temp'`,
  'select 1 -- create temp table',
  'select template, temperature into_temp from readings',
  'call refresh_temp()',
])('%s does not', (text) => expect(changes(text)).toBeUndefined())
