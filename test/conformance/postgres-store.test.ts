import { drizzle } from 'drizzle-orm/node-postgres'
import { setTimeout as sleep } from 'node:timers/promises'
import { Pool } from 'pg'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { createTenantCache } from '../../src/cache/tenant-cache.ts'
import { createCachedTenantStore } from '../../src/tenants/cached-store.ts'
import { createDrizzlePostgresTenantStore } from '../../src/tenants/drizzle-postgres-store.ts'
import { uniquePrefix } from '../cache/shared.ts'
import { describeWith } from '../servers/suite.ts'
import { dropSchema, pgAdmin, uniqueSchema } from './registry-store-fixtures.ts'
import { behindRedis } from './shared-store.ts'
import { describeTenantStore, newTenant } from './store.ts'

for (const version of ['postgres15', 'postgres18'] as const) {
  describeWith([version], `Drizzle on ${version}`, (servers) => {
    const { url } = servers[version]
    let pool: Pool
    const admin = () => pgAdmin(pool)
    const open = (schema: string) =>
      createDrizzlePostgresTenantStore({
        admin: admin(),
        drizzle: (client) => drizzle({ client: client as Pool }),
        schema,
      })

    beforeAll(() => {
      const options = '-c timezone=Asia/Kathmandu -c datestyle=SQL,DMY'
      pool = new Pool({ connectionString: url, max: 10, options })
    })
    afterAll(() => pool.end())

    describeTenantStore('Drizzle on PostgreSQL', async () => {
      const schema = uniqueSchema()
      return { open: () => open(schema), drop: () => dropSchema(admin(), schema) }
    })

    describeTenantStore('cached Drizzle on PostgreSQL', async () => {
      const schema = uniqueSchema()
      const cached = () =>
        createCachedTenantStore({ store: open(schema), cache: createTenantCache({ maxSize: 10, ttlSeconds: 60 }) })
      return { open: cached, drop: () => dropSchema(admin(), schema) }
    })

    const { redis } = inject('servers')
    // Where Redis is waived, which CI refuses and the summary says.
    describe.skipIf(redis === undefined)('with Redis', () => {
      describeTenantStore('Drizzle on PostgreSQL behind L1 and L2', async () => {
        const schema = uniqueSchema()
        const prefix = uniquePrefix()
        const url = redis?.url ?? ''
        return { open: () => behindRedis(open(schema), url, prefix), drop: () => dropSchema(admin(), schema) }
      })
    })

    describe('the registry itself', () => {
      const schema = uniqueSchema()
      beforeAll(() => open(schema).initialize())
      afterAll(() => dropSchema(admin(), schema))

      it('gives PUBLIC no right on the schema or its tables', async () => {
        const rows = await admin().query(
          `select 1 from pg_namespace n, aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a
          where n.nspname = $1 and a.grantee = 0
         union all
         select 1 from pg_class c join pg_namespace n on n.oid = c.relnamespace,
           aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) a
          where n.nspname = $1 and c.relkind = 'r' and a.grantee = 0`,
          [schema],
        )
        expect(rows).toEqual([])
      })

      it('has no two indexes on the same columns, and one for each way to list', async () => {
        const rows = await admin().query<{ definition: string }>(
          `select regexp_replace(indexdef, '^.* USING ', '') as definition from pg_indexes
          where schemaname = $1 and tablename = 'tenants' order by 1`,
          [schema],
        )
        expect(rows.map(({ definition }) => definition)).toEqual([
          'btree (change_number, id)',
          'btree (created_at DESC, id DESC)',
          'btree (id)',
          'btree (identifier)',
          'btree (namespace)',
          'btree (row_key_canonical)',
          'btree (status, created_at DESC, id DESC)',
        ])
      })

      it('keeps the state machine and the form of metadata also against SQL by hand', async () => {
        const store = open(schema)
        const { id } = await store.insert(newTenant())
        const table = `"${schema.replaceAll('"', '""')}".tenants`
        await expect(admin().query(`update ${table} set status = 'x' where id = $1`, [id])).rejects.toThrow(
          'status_check',
        )
        await expect(admin().query(`update ${table} set metadata = '[]' where id = $1`, [id])).rejects.toThrow(
          'metadata_check',
        )
      })
    })

    describe('changes', () => {
      const schema = uniqueSchema()
      const quoted = `"${schema.replaceAll('"', '""')}"`
      const store = () => open(schema)
      beforeAll(() => store().initialize())
      afterAll(() => dropSchema(admin(), schema))

      /** One writer takes its number, another one commits, a reader looks, the first one commits, the reader looks again. */
      async function lateCommit(): Promise<{ readonly seen: string[] }> {
        const [late, quick] = [await store().insert(newTenant()), await store().insert(newTenant())]
        const start = await store().changes?.()
        const slow = await pool.connect()
        try {
          await slow.query('begin')
          await slow.query(`update ${quoted}.tenants set name = 'late' where id = $1`, [late.id])
          const other = store().update(quick.id, { name: 'quick' })
          await Promise.race([other, sleep(100)])
          const first = await store().changes?.(start?.position)
          await slow.query('commit')
          await other
          const second = await store().changes?.(first?.position)
          const seen = [...(first?.tenants ?? []), ...(second?.tenants ?? [])].map(({ name }) => name)
          return { seen: seen.sort() }
        } finally {
          slow.release()
        }
      }

      it('[W40] are not missed when the writer that took its number first commits last', async () => {
        expect((await lateCommit()).seen).toEqual(['late', 'quick'])
      })

      it('would be missed if a sequence gave the numbers', async () => {
        const functions = await pool.query<{ text: string }>(
          `select pg_get_functiondef(p.oid) as text from pg_proc p join pg_namespace n on n.oid = p.pronamespace
          where n.nspname = $1`,
          [schema],
        )
        await pool.query(`create sequence ${quoted}.numbers start 1000;
        alter table ${quoted}.change_counter rename to change_counter_kept;
        create view ${quoted}.change_counter as select last_value as last, null as incarnation, 0 as tableoid from ${quoted}.numbers;
        create or replace function ${quoted}.take_change_number() returns trigger language plpgsql as
          $$ begin return null; end $$;
        create or replace function ${quoted}.note_change() returns trigger language plpgsql as
          $$ begin new.change_number := nextval('${quoted.replaceAll("'", "''")}.numbers'); return new; end $$`)
        try {
          expect((await lateCommit()).seen).toEqual(['quick'])
        } finally {
          for (const { text } of functions.rows) await pool.query(text)
          await pool.query(`drop view ${quoted}.change_counter;
          alter table ${quoted}.change_counter_kept rename to change_counter;
          update ${quoted}.change_counter set last = 5000`)
        }
      })

      it('hold what is written by hand, as a new version, and not what is rolled back', async () => {
        const { id } = await store().insert(newTenant())
        const start = await store().changes?.()
        await pool.query(`begin; update ${quoted}.tenants set name = 'never' where id = '${id}'; rollback`)
        expect((await store().changes?.(start?.position))?.tenants).toEqual([])
        await pool.query(`update ${quoted}.tenants set status = 'suspended' where id = $1`, [id])
        expect((await store().changes?.(start?.position))?.tenants).toMatchObject([
          { id, status: 'suspended', version: 2 },
        ])
      })

      it('are given by one statement that writes many rows, and no writer waits for another in a circle', async () => {
        const tenants = await Promise.all(Array.from({ length: 20 }, () => store().insert(newTenant())))
        const ids = tenants.map((tenant) => tenant.id)
        const start = await store().changes?.()
        const all = () => pool.query(`update ${quoted}.tenants set name = 'all' where id = any($1)`, [ids])
        const each = ids.map((one) => store().update(one, { metadata: { a: 1 } }))
        await Promise.all([all(), ...each, all()])
        const read = await store().changes?.(start?.position)
        expect(read?.tenants.map((tenant) => tenant.version)).toEqual(Array(20).fill(4))
      })
    })

    it('initializes from eight processes at once where the default isolation is stricter', async () => {
      const schema = uniqueSchema()
      const options = '-c default_transaction_isolation=serializable'
      const strict = new Pool({ connectionString: url, max: 8, options })
      const stores = Array.from({ length: 8 }, () =>
        createDrizzlePostgresTenantStore({
          admin: pgAdmin(strict),
          drizzle: (client) => drizzle({ client: client as Pool }),
          schema,
        }),
      )
      try {
        await Promise.all(stores.map((store) => store.initialize()))
      } finally {
        await strict.end()
        await dropSchema(admin(), schema)
      }
    })

    it('uses the schema it is given, `tenancy` by default', async () => {
      const name = `store_default_${process.pid}_${Math.random().toString(36).slice(2)}`
      await pool.query(`create database ${name}`)
      const other = new Pool({ connectionString: new URL(`/${name}`, url).href, max: 1 })
      try {
        await createDrizzlePostgresTenantStore({
          admin: pgAdmin(other),
          drizzle: (client) => drizzle({ client: client as Pool }),
        }).initialize()
        const { rows } = await other.query("select count(*)::int as n from pg_tables where schemaname = 'tenancy'")
        expect(rows).toEqual([{ n: 5 }])
      } finally {
        await other.end()
        await pool.query(`drop database ${name}`)
      }
    })

    it('initializes without the right to create a schema when the schema is there', async () => {
      const schema = `store_${Math.random().toString(36).slice(2)}`
      const role = `${schema}_role`
      await pool.query(`create role ${role} login password 'x'; create schema ${schema} authorization ${role}`)
      const limited = new URL(url)
      limited.username = role
      limited.password = 'x'
      const restricted = new Pool({ connectionString: limited.href, max: 1 })
      try {
        const store = createDrizzlePostgresTenantStore({
          admin: pgAdmin(restricted),
          drizzle: (client) => drizzle({ client: client as Pool }),
          schema,
        })
        await store.initialize()
        await store.initialize()
        expect(await store.count()).toBe(0)
      } finally {
        await restricted.end()
        await pool.query(`drop owned by ${role} cascade; drop role ${role}`)
      }
    })

    it.each(['', 'public', 'pg_mine', 'information_schema', 'x'.repeat(64), 'a\0b'])(
      'refuses the schema %j',
      (schema) => {
        expect(() => open(schema)).toThrow(expect.objectContaining({ code: 'TENANCY_ERR_CONFIG_INVALID' }))
      },
    )

    it('tells a registry that was never initialized as unavailable, without its SQL', async () => {
      const error = await open(uniqueSchema())
        .getByIdentifier('acme-secret')
        .catch((caught: unknown) => caught)
      expect(error).toMatchObject({ code: 'TENANCY_ERR_STORE_UNAVAILABLE', statusCode: 503, cause: { code: '42P01' } })
      expect(everyMessage(error)).not.toMatch(/select|acme-secret/i)
    })
  })

  describe('Drizzle on a PostgreSQL that is down', () => {
    const secret = 'Very Secret Inc.'

    it('tells every method as TENANCY_ERR_STORE_UNAVAILABLE, without SQL or parameters', async () => {
      const pool = new Pool({ connectionString: 'postgres://nobody@127.0.0.1:1/none' })
      const store = createDrizzlePostgresTenantStore({
        admin: pgAdmin(pool),
        drizzle: (client) => drizzle({ client: client as Pool }),
      })
      const tenant = newTenant({ name: secret })
      const calls = [
        store.initialize(),
        store.getById(tenant.id),
        store.getByIdentifier(tenant.identifier),
        store.insert(tenant),
        store.update(tenant.id, { name: secret }),
        store.setStatus(tenant.id, 'active'),
        store.discard(tenant.id),
        store.list(),
        store.count(),
        store.ping(),
      ]
      for (const result of await Promise.allSettled(calls)) {
        const error: unknown = result.status === 'rejected' ? result.reason : undefined
        expect(error).toMatchObject({ code: 'TENANCY_ERR_STORE_UNAVAILABLE', statusCode: 503 })
        expect(error).toHaveProperty('cause.code', 'ECONNREFUSED')
        expect(everyMessage(error)).not.toMatch(/select|insert|update|Secret/i)
      }
      await store.close()
      await pool.end()
    })
  })

  function everyMessage(error: unknown): string {
    return error instanceof Error ? `${error.message}\n${everyMessage(error.cause)}` : ''
  }
}
