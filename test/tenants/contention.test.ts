import { randomBytes } from 'node:crypto'
import { drizzle } from 'drizzle-orm/node-postgres'
import { Pool } from 'pg'
import { expect, it, onTestFinished } from 'vitest'
import { createDrizzlePostgresTenantStore } from '../../src/tenants/drizzle-postgres-store.ts'
import { createLockingTenantStore } from '../../src/tenants/locking-store.ts'
import { mysqlRegistry } from '../../src/tenants/mysql-registry.ts'
import { dropSchema, pgAdmin, uniqueSchema } from '../conformance/registry-store-fixtures.ts'
import { newTenant } from '../conformance/store.ts'
import { describeWith } from '../servers/suite.ts'
import { asRoot, mysqlDatabase, mysqlServer } from '../support/mysql.ts'

describeWith(['postgres18'], "writers in each other's way on PostgreSQL", ({ postgres18 }) => {
  async function openRegistry(isolation: string) {
    const schema = uniqueSchema()
    const options = `-c default_transaction_isolation=${isolation.replace(' ', '\\ ')}`
    const pool = new Pool({ connectionString: postgres18.url, max: 10, options })
    const admin = pgAdmin(pool)
    const store = createDrizzlePostgresTenantStore({
      admin,
      drizzle: (client) => drizzle({ client: client as Pool }),
      schema,
    })
    await store.initialize()
    onTestFinished(async () => {
      await dropSchema(admin, schema)
      await pool.end()
    })
    return {
      store,
      pool,
      table: `"${schema.replaceAll('"', '""')}".tenants`,
      counter: `"${schema.replaceAll('"', '""')}".change_counter`,
    }
  }

  it.each(['repeatable read', 'serializable'])('[W42] keep all 60 keys where the default is %s', async (isolation) => {
    const { store, pool } = await openRegistry(isolation)
    const { rows } = await pool.query("select current_setting('transaction_isolation') as level")
    expect(rows).toEqual([{ level: isolation }])
    const { id } = await store.insert(newTenant())
    await Promise.all(Array.from({ length: 60 }, (_, n) => store.update(id, { metadata: { [`key${n}`]: n } })))
    const tenant = await store.getById(id)
    expect(Object.keys(tenant?.metadata ?? {})).toHaveLength(60)
    expect(tenant?.version).toBe(61)
  })

  it('[W42] try again after a deadlock', async () => {
    const { store, pool, table, counter } = await openRegistry('read committed')
    const { id } = await store.insert(newTenant())
    const other = await pool.connect()
    try {
      await other.query('begin')
      // Who looks first finds the deadlock, and is given up.
      await other.query(`set local deadlock_timeout to '20s'`)
      await other.query(`select 1 from ${table} where id = $1 for update`, [id])
      // Has the counter and waits for the row.
      const update = store.update(id, { metadata: { ours: 1 } })
      await waitsForLock(pool)
      await other.query(`update ${counter} set last = last + 0`)
      await other.query(`update ${table} set metadata = metadata || '{"theirs": 1}' where id = $1`, [id])
      await other.query('commit')
      expect((await update).metadata).toEqual({ ours: 1, theirs: 1 })
    } finally {
      other.release()
    }
    const { rows } = await pool.query<{ deadlocks: number }>(
      'select pg_stat_force_next_flush(), deadlocks::int from pg_stat_database where datname = current_database()',
    )
    expect(rows[0]?.deadlocks).toBeGreaterThan(0)
  })

  async function waitsForLock(pool: Pool): Promise<void> {
    const text = `select 1 from pg_stat_activity where wait_event_type = 'Lock' and query like 'update%tenants%'`
    while ((await pool.query(text)).rowCount === 0) await new Promise((resolve) => setTimeout(resolve, 10))
  }
})

describeWith(['mariadb'], "writers in each other's way on MariaDB", ({ mariadb }) => {
  it('[W42] try again after a deadlock', async () => {
    const database = await mysqlDatabase(mariadb.url)
    const server = mysqlServer(database)
    await server.open()
    const name = `tenancy_${randomBytes(5).toString('hex')}`
    onTestFinished(async () => {
      await server.close()
      await asRoot(database.superUrl, [`drop database if exists ${name}`])
      await database.drop()
    })
    const store = createLockingTenantStore(server.admin, mysqlRegistry(name))
    await store.initialize()
    const { id } = await store.insert(newTenant())
    const deadlocks = async () => {
      const [row] = await asRoot<{ Value: string }>(database.superUrl, ["show global status like 'Innodb_deadlocks'"])
      return Number(row?.Value)
    }
    const before = await deadlocks()
    let update: Promise<unknown> = Promise.resolve()
    await server.admin.transaction(async (query) => {
      await query(`update ${name}.tenants set name = 'Theirs', version = version + 1 where id = ?`, [id])
      await query(`insert into ${name}.released_identifiers values ('one', ?), ('two', ?)`, [id, id])
      // Has the counter and waits for the row. It has written less, so it is the one that is given up.
      update = store.update(id, { metadata: { ours: 1 } })
      const waiting = `select 1 from information_schema.innodb_trx where trx_state = 'LOCK WAIT'`
      // Who asks more than ten times a second gets the same answer for ever.
      while ((await asRoot(database.superUrl, [waiting])).length === 0)
        await new Promise((done) => setTimeout(done, 200))
      await query(`update ${name}.change_counter set last = last + 0`)
    })
    expect(await update).toMatchObject({ name: 'Theirs', metadata: { ours: 1 } })
    expect(await deadlocks()).toBeGreaterThan(before)
  })
})
