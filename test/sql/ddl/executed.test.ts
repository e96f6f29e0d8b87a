import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createClient } from '@libsql/client'
import { createConnection } from 'mysql2/promise'
import { Client } from 'pg'
import { afterAll, describe, expect, it } from 'vitest'
import { readMigrations } from '../../../src/migrations/reader.ts'
import { parseNamedDdl } from '../../../src/sql/ddl/named-ddl.ts'
import type { Naming } from '../../../src/sql/naming.ts'
import type { SqlProfile } from '../../../src/sql/profile.ts'
import { createTestDatabase } from '../../servers/database.ts'
import { describeWith } from '../../servers/suite.ts'
import { mysqlProfile, postgresProfile, sqliteProfile } from '../profiles.ts'
import { mysqlStory, postgresStory, sqliteStory } from './stories.ts'

const tenants = ['a', 'b'].map((letter) => `t${letter.repeat(25)}`)
const prefixes = tenants.map((namespace) => `${namespace}__`)
const own = (name: string) => prefixes.find((prefix) => name.startsWith(prefix))

function written(statements: readonly string[], naming: Naming, profile: SqlProfile): string[] {
  return statements.map((one) => parseNamedDdl(one, profile).render(naming)).filter((text) => text !== '')
}

/** What the tenants have, without their prefixes: must be the same for each. */
function halves(names: readonly string[]): string[][] {
  expect(names.filter((name) => own(name) === undefined)).toEqual([])
  return prefixes.map((prefix) =>
    names
      .filter((name) => name.startsWith(prefix))
      .map((name) => name.replaceAll(prefix, ''))
      .toSorted(),
  )
}

describeWith(['postgres15'], 'PostgreSQL runs what is written', ({ postgres15 }) => {
  it.each(['kit-0.31', 'kit-1.0', 'story'])('%s', async (folder) => {
    const database = await createTestDatabase(postgres15.url)
    const client = new Client({ connectionString: database.adminUrl })
    try {
      await client.connect()
      await client.query('CREATE SCHEMA prefixed; SET search_path TO pg_temp')
      const statements =
        folder === 'story'
          ? postgresStory
          : (await readMigrations(`test/fixtures/migrations/${folder}`)).flatMap((one) => one.statements)
      for (const prefix of prefixes) {
        for (const text of written(statements, { qualifier: ['prefixed'], prefix }, postgresProfile)) {
          await client.query(text).catch((error: unknown) => {
            throw new Error(text, { cause: error })
          })
        }
      }
      const rows = async (sql: string) => (await client.query<{ name: string; uses: string }>(sql)).rows
      const user = `n.nspname !~ '^(pg_|information_schema)'`
      const objects = await rows(`
        select c.relname as name from pg_class c join pg_namespace n on n.oid = c.relnamespace where ${user}
        union all select conname from pg_constraint c join pg_namespace n on n.oid = connamespace where ${user}
        union all select typname from pg_type t join pg_namespace n on n.oid = typnamespace where ${user} and typelem = 0`)
      const [one = [], other] = halves(objects.map(({ name }) => name))
      expect(one.length).toBeGreaterThan(10)
      expect(other).toEqual(one)
      const schemas = await rows(`select distinct n.nspname as name from pg_class c join pg_namespace n
        on n.oid = c.relnamespace where ${user}`)
      expect(schemas.map(({ name }) => name)).toEqual(['prefixed'])
      const links = await rows(`
        select conrelid::regclass::text as name, confrelid::regclass::text as uses from pg_constraint where contype = 'f'
        union all select attrelid::regclass::text, coalesce(nullif(typelem, 0), t.oid)::regtype::text from pg_attribute a
          join pg_type t on t.oid = atttypid join pg_class c on c.oid = attrelid where c.relkind = 'r' and
          (select typtype from pg_type e where e.oid = coalesce(nullif(t.typelem, 0), t.oid)) = 'e'
        union all select indexrelid::regclass::text, indrelid::regclass::text from pg_index
          join pg_class c on c.oid = indrelid join pg_namespace n on n.oid = relnamespace where ${user}
        union all select ev_class::regclass::text, refobjid::regclass::text from pg_rewrite r join pg_depend d
          on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid join pg_class c on c.oid = ev_class
          join pg_namespace n on n.oid = c.relnamespace where ${user} and refclassid = 'pg_class'::regclass
        union all select d.objid::regclass::text, d.refobjid::regclass::text from pg_depend d join pg_class c
          on c.oid = d.objid where c.relkind = 'S' and d.deptype in ('a', 'i') and refclassid = 'pg_class'::regclass
        union all select a.adrelid::regclass::text, d.refobjid::regclass::text from pg_attrdef a join pg_depend d
          on d.classid = 'pg_attrdef'::regclass and d.objid = a.oid and refclassid = 'pg_class'::regclass`)
      expect(links.length).toBeGreaterThan(8)
      const bare = (name: string) => name.replace(/^prefixed\./, '').replaceAll('"', '')
      for (const { name, uses } of links) expect(own(bare(uses)), `${name} → ${uses}`).toBe(own(bare(name)) ?? 'nobody')
    } finally {
      await client.end()
      await database.drop()
    }
  })
})

describeWith(['mariadb'], 'MariaDB runs what is written', ({ mariadb }) => {
  it.each(['schema', 'prefix'])('%s', async (strategy) => {
    const databases = strategy === 'schema' ? tenants : [`shared_${process.pid}`]
    const server = new URL(mariadb.url)
    // No default database: a name that was not written fails.
    const connection = await createConnection({ host: server.hostname, port: Number(server.port), user: 'root' })
    try {
      for (const database of databases) await connection.query(`CREATE DATABASE \`${database}\``)
      const namings = tenants.map((namespace) =>
        strategy === 'schema'
          ? { qualifier: [namespace], prefix: '' }
          : { qualifier: databases, prefix: `${namespace}__` },
      )
      for (const naming of namings) {
        for (const text of written(mysqlStory, naming, mysqlProfile)) {
          await connection.query(text).catch((error: unknown) => {
            throw new Error(text, { cause: error })
          })
        }
      }
      const list = databases.map((name) => `'${name}'`).join(',')
      const rows = async (sql: string) => (await connection.query(sql))[0] as { name: string; uses: string }[]
      const path = (database: string, name: string) =>
        strategy === 'schema' ? `concat(${database}, '__', ${name})` : name
      const objects = await rows(`
        select ${path('table_schema', 'table_name')} as name from information_schema.tables where table_schema in (${list})
        union all select ${path('constraint_schema', 'constraint_name')} from information_schema.table_constraints
          where constraint_schema in (${list}) and constraint_name <> 'PRIMARY'
        union all select ${path('table_schema', 'index_name')} from information_schema.statistics
          where table_schema in (${list}) and index_name <> 'PRIMARY'`)
      const [one = [], other] = halves(objects.map(({ name }) => name))
      expect(one.length).toBeGreaterThan(8)
      expect(other).toEqual(one)
      const links = await rows(`
        select ${path('constraint_schema', 'table_name')} as name,
          ${path('unique_constraint_schema', 'referenced_table_name')} as uses
        from information_schema.referential_constraints where constraint_schema in (${list})`)
      expect(links.length).toBeGreaterThan(1)
      for (const { name, uses } of links) expect(own(uses), `${name} → ${uses}`).toBe(own(name) ?? 'nobody')
      const views = await rows(`select ${path('table_schema', 'table_name')} as name, view_definition as uses
        from information_schema.views where table_schema in (${list})`)
      expect(views.length).toBe(2)
      const stranger = (name: string) => tenants.find((namespace) => !name.startsWith(namespace)) ?? ''
      for (const { name, uses } of views) expect(uses).not.toContain(stranger(name))
    } finally {
      for (const database of databases) await connection.query(`DROP DATABASE IF EXISTS \`${database}\``)
      await connection.end()
    }
  })
})

describe('SQLite runs what is written', () => {
  const folders: string[] = []
  afterAll(() => Promise.all(folders.map((folder) => rm(folder, { recursive: true }))))

  it('in one file for both', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'ddl-'))
    folders.push(folder)
    const client = createClient({ url: `file:${join(folder, 'app.db')}` })
    try {
      for (const prefix of prefixes) {
        for (const text of written(sqliteStory, { qualifier: [], prefix }, sqliteProfile)) {
          await client.execute(text).catch((error: unknown) => {
            throw new Error(text, { cause: error })
          })
        }
      }
      const rows = async (sql: string) =>
        (await client.execute(sql)).rows as unknown as { name: string; tbl_name: string; sql: string; table: string }[]
      const objects = await rows(`select name, tbl_name, sql from sqlite_master where name not like 'sqlite_%'`)
      const [one = [], other] = halves(objects.map(({ name }) => name))
      expect(one.length).toBeGreaterThan(5)
      expect(other).toEqual(one)
      for (const { name, tbl_name, sql } of objects) {
        expect(own(tbl_name)).toBe(own(name))
        for (const prefix of prefixes) if (prefix !== own(name)) expect(sql).not.toContain(prefix)
        for (const { table } of await rows(`pragma foreign_key_list("${name}")`)) expect(own(table)).toBe(own(name))
      }
      const counts = await rows(
        `select ${prefixes.map((prefix) => `(select count(*) from "${prefix}orders")`).join('+')} as name`,
      )
      expect(counts[0]?.name).toBe(4)
    } finally {
      client.close()
    }
  })
})
