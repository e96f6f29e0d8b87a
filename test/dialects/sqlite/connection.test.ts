import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createClient } from '@libsql/client'
import { afterAll, expect, it } from 'vitest'
import { type CreateLibsqlClient, libsqlConnections } from '../../../src/dialects/sqlite/drivers/libsql-server.ts'
import { begin, connect } from '../../../src/dialects/sqlite/files/connection.ts'

const folder = mkdtempSync(join(tmpdir(), 'tenancy-connection-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const create = libsqlConnections(createClient as unknown as CreateLibsqlClient)
const path = join(folder, 'a name with ? # % in it.db')

it('a connection that reads writes nothing, whatever it is sent', async () => {
  const writer = await connect(create, path, 'write')
  await writer.execute('create table a (id integer primary key)')
  const reader = await connect(create, path, 'read')
  await expect(reader.execute('insert into a values (1)')).rejects.toMatchObject({ code: 'SQLITE_READONLY' })
  expect((await reader.execute('select * from a')).rows).toEqual([])
  reader.close()
  writer.close()
})

it('who found the file busy can commit afterwards', async () => {
  const [one, two] = [await connect(create, path, 'write'), await connect(create, path, 'write')]
  const first = await begin(one, 'write', 100)
  await expect(begin(two, 'write', 30)).rejects.toMatchObject({ code: 'SQLITE_BUSY' })
  const waiting = begin(two, 'write', 1000)
  await first.execute({ sql: 'insert into a values (10)' })
  await first.commit()
  const second = await waiting
  await second.execute({ sql: 'insert into a values (11)' })
  await second.commit()
  expect((await one.execute('select id from a where id >= 10')).rows).toHaveLength(2)
  for (const client of [one, two]) client.close()
})
