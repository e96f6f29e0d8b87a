import { describe, expect, it } from 'vitest'
import type { AdminConnection } from '../../src/contracts/dialect.ts'
import type { TenantStore } from '../../src/contracts/store.ts'
import { createLockingTenantStore } from '../../src/tenants/locking-store.ts'
import { mssqlRegistry } from '../../src/tenants/mssql-registry.ts'
import { newTenant } from '../conformance/store.ts'

// What is written, not what it does: that is test/conformance/mssql-store.test.ts, on a server.

const ID = 'aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeee01'
const row = {
  id: ID,
  identifier: 'acme',
  name: 'Acme Inc.',
  status: 'active',
  strategy: 'schema',
  server: 'main',
  namespace: 't1',
  row_key: ID,
  metadata: '{"plan":"pro"}',
  version: 3,
  created_at: '2026-01-31T12:00:00.000Z',
  updated_at: '2026-01-31T12:00:00.000Z',
}
const COLUMNS =
  'id, identifier, name, status, strategy, server, namespace, row_key, metadata as metadata, version, created_at, updated_at'
const COUNT = 'update [tenancy].change_counter set last = last + 1'

/** A store whose statements are written down, without the time that each waits; `answers` are found by a part of the text. */
function script(answers: readonly (readonly [part: string, rows: readonly object[]])[], maxTenants?: number) {
  const sent: string[] = []
  const query = (async (text: string, parameters: readonly unknown[] = []) => {
    const plain = text.replaceAll(/\s+/g, ' ').trim()
    sent.push(plain.replace(/^set lock_timeout 4000; /, '') + (parameters.length > 0 ? ` -- ${parameters.length}` : ''))
    return answers.findLast(([part]) => plain.includes(part))?.[1] ?? []
  }) as AdminConnection['query']
  const connection: AdminConnection = {
    client: {},
    query,
    async transaction(work) {
      sent.push('begin')
      const result = await work(query)
      sent.push('commit')
      return result
    },
  }
  return { sent, query, store: createLockingTenantStore(connection, mssqlRegistry('tenancy'), { maxTenants }) }
}
const found: Parameters<typeof script>[0] = [['from [tenancy].tenants', [row]]]

describe('a write', () => {
  const begun = ['begin', COUNT, `select ${COLUMNS} from [tenancy].tenants with (updlock) where id = @p0 -- 1`]
  const told = [`select ${COLUMNS} from [tenancy].tenants where id = @p0 -- 1`, 'commit']
  const moved =
    "version = version + 1, updated_at = left(replace(convert(nvarchar(27), sysutcdatetime(), 121), N' ', N'T') + N'000', 23) + N'Z', change_number = (select last from [tenancy].change_counter)"

  it.each<[string, (store: TenantStore) => Promise<unknown>, string]>([
    [
      'of metadata merges them here',
      (store) => store.update(ID, { metadata: { seats: 5 } }),
      `update [tenancy].tenants set metadata = @p0, ${moved} where id = @p1 -- 2`,
    ],
    [
      'of a status',
      (store) => store.setStatus(ID, 'suspended'),
      `update [tenancy].tenants set status = @p0, ${moved} where id = @p1 -- 2`,
    ],
  ])('%s, after the number and the lock of the row', async (_, work, statement) => {
    const { sent, store } = script(found)
    await work(store)
    expect(sent).toEqual([...begun, statement, ...told])
  })

  it('that inserts holds the number before any row: who counts the tenants must not wait for one that waits for it', async () => {
    const { sent, store } = script([...found, ['count(*)', [{ tenants: 5 }]]], 5)
    await store.insert(newTenant())
    expect(sent.map((text) => text.replace(/ \(.*| set .*/, ''))).toEqual([
      'begin',
      'update [tenancy].change_counter',
      'insert into [tenancy].tenants',
      'select tenant_id from [tenancy].released_identifiers where identifier = @p0 -- 1',
      'select count(*) as tenants from',
      `select ${COLUMNS} from [tenancy].tenants where id = @p0 -- 1`,
      'commit',
    ])
    expect(sent[2]).toMatch(/^insert .* values \((@p\d+, ){9}1, .*, @p9, @p10, \(select last from .*\)\) -- 11$/)
    expect(sent[4]).toBe(
      "select count(*) as tenants from (select id from [tenancy].tenants where status <> 'purged' order by id offset 0 rows fetch next 6 rows only) counted",
    )
  })

  it('that deletes holds it too, and is refused what is not provisioning', async () => {
    const { sent, store } = script(found)
    expect(await store.discard(ID)).toBe(false)
    expect(sent).toEqual([...begun, 'commit'])
  })

  it('of nothing takes no number', async () => {
    const { sent, store } = script(found)
    expect(await store.update(ID, {}, 3)).toMatchObject({ version: 3 })
    await expect(store.update(ID, {}, 2)).rejects.toMatchObject({ code: 'TENANCY_ERR_TENANT_CONFLICT' })
    for (const nobody of [store.update('acme', { name: 'x' }), store.setStatus('acme', 'active')]) {
      await expect(nobody).rejects.toMatchObject({ code: 'TENANCY_ERR_TENANT_NOT_FOUND' })
    }
    expect(sent).toEqual(Array(2).fill(told[0]))
  })
})

describe('a read', () => {
  const whole = (text: string) =>
    `begin transaction; declare @counted bigint; select @counted = last from [tenancy].change_counter with (holdlock); ${text}; commit transaction`

  it('of one tenant locks nothing but it', async () => {
    const { sent, store } = script(found)
    await store.getById(ID)
    await store.getByIdentifier('acme')
    await store.getByIds([ID])
    expect(sent).toEqual(
      ['id = @p0', 'identifier = @p0', 'id in (@p0)'].map(
        (condition) => `select ${COLUMNS} from [tenancy].tenants where ${condition} -- 1`,
      ),
    )
  })

  it('of many keeps writers out: its rows are not those of one moment otherwise', async () => {
    const { sent, store } = script([
      ...found,
      ['select last', [{ last: '9', incarnation: 'a' }]],
      ['count(*)', [{ tenants: 1 }]],
    ])
    await store.list({ status: 'active', search: 'Acme', limit: 10 })
    await store.count()
    await store.changes?.('a@7')
    expect(sent).toEqual([
      whole(
        `select ${COLUMNS} from [tenancy].tenants where status = @p0 and (charindex(@p1, identifier) > 0 or charindex(@p2, name_folded) > 0) order by created_at desc, id desc offset 0 rows fetch next 11 rows only`,
      ) + ' -- 3',
      whole('select count(*) as tenants from [tenancy].tenants'),
      "select last, concat(incarnation, N'.', (select convert(nvarchar(23), create_date, 126) from sys.databases where name = N'tempdb'), N'.', (select convert(nvarchar(23), create_date, 126) from sys.databases where database_id = db_id())) as incarnation from [tenancy].change_counter",
      whole(
        `select ${COLUMNS}, change_number from [tenancy].tenants where change_number > @p0 order by change_number, id offset 0 rows fetch next 501 rows only`,
      ) + ' -- 1',
    ])
  })

  it('for the empty text is one for all', async () => {
    const { sent, store } = script(found)
    await store.list({ search: '' })
    expect(sent[0]).not.toContain('charindex')
  })

  it('waits four seconds for a row, and not for ever', async () => {
    expect(mssqlRegistry('tenancy').statement('select ? from x where y = ?')).toBe(
      'set lock_timeout 4000; select @p0 from x where y = @p1',
    )
  })
})

describe('its schema', () => {
  const tables = (sent: readonly string[]) => sent.filter((text) => /^(create|insert)/.test(text))

  it('is made in one transaction, under a lock that ends with it, and written down', async () => {
    const { sent, store } = script([['sp_getapplock', [{ got: 0 }]]])
    await store.initialize()
    expect(sent[0]).toBe('begin')
    expect(sent[1]).toContain("@LockOwner = N'Transaction', @LockTimeout = 60000")
    expect(sent.at(-1)).toBe('commit')
    const made = tables(sent)
    // Alone in its batch.
    expect(made[0]).toBe('create schema [tenancy]')
    expect(made.map((text) => /\[tenancy\]\.(\w+)/.exec(text)?.[1]).slice(1)).toEqual([
      'registry_migrations',
      'tenants',
      ...Array(3).fill('tenants'),
      'change_counter',
      'change_counter',
      'released_identifiers',
      'registry_migrations',
      'hot_tenants',
      'hot_tenants',
      'registry_migrations',
    ])
    expect(made[2]).toContain(
      'metadata nvarchar(max) collate Latin1_General_100_BIN2 not null constraint tenants_metadata_check check (isjson(metadata) = 1)',
    )
    for (const column of ['identifier', 'namespace', 'row_key_canonical']) {
      expect(made[2]).toMatch(
        new RegExp(`${column} nvarchar\\(\\d+\\) collate Latin1_General_100_BIN2 not null constraint \\w+ unique`),
      )
    }
    expect(made.at(-1)).toBe('insert into [tenancy].registry_migrations (step) values (@p0) -- 1')
  })

  const atStep = async (step: number) => {
    const { sent, store } = script([
      ['sp_getapplock', [{ got: 1 }]],
      ['sys.schemas', [{ one: 1 }]],
      ['sys.tables', [{ one: 1 }]],
      ['max(step)', [{ step }]],
    ])
    await store.initialize()
    return tables(sent)
  }

  it('that is older gets what it lacks', async () => {
    const made = await atStep(1)
    expect(made.map((text) => /\[tenancy\]\.(\w+)/.exec(text)?.[1])).toEqual([
      'hot_tenants',
      'hot_tenants',
      'registry_migrations',
    ])
  })

  it.each([2, 1000])('that is at step %i is left alone', async (step) => {
    expect(await atStep(step)).toEqual([])
  })

  it('that another process does not let go of is unavailable', async () => {
    const { sent, store } = script([['sp_getapplock', [{ got: -1 }]]])
    await expect(store.initialize()).rejects.toMatchObject({ code: 'TENANCY_ERR_STORE_UNAVAILABLE' })
    expect(tables(sent)).toEqual([])
  })

  it.each(['dbo', 'SYS', 'guest', 'information_schema', 'db_owner'])('is not %s, which is the server’s', (name) => {
    expect(() => mssqlRegistry(name)).toThrow(/of the server itself/)
  })

  it('may have any other name', () => {
    expect(mssqlRegistry('a]b [c]').name).toBe('[a]]b [c]]].tenants')
  })
})
