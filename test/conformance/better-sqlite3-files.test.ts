import { copyFileSync, readdirSync, readlinkSync, renameSync, rmSync, symlinkSync } from 'node:fs'
import { afterEach, describe, expect, it } from 'vitest'
import type { Scope } from '../../src/contracts/isolation.ts'
import { describeWith } from '../servers/suite.ts'
import { besides, clientOf, insert, TABLE, textsOf, timed, twoTenants } from '../support/better-sqlite3.ts'
import { open } from '../support/database.ts'
import { codeNow, codeOf } from '../support/errors.ts'
import { openBetterSqlite3, ownFile, type SqliteServer } from '../support/sqlite.ts'

const BUSY = 'TENANCY_ERR_POOL_TIMEOUT'
const UNAVAILABLE = 'TENANCY_ERR_DATABASE_UNAVAILABLE'

/** A call that had to wait for nobody takes less, also on a slow machine. */
const AT_ONCE_MS = 90

describeWith(['better-sqlite3'], 'files with better-sqlite3', () => {
  const opened: SqliteServer[] = []
  const start = async (...options: Parameters<typeof openBetterSqlite3>) => {
    const files = await openBetterSqlite3(...options)
    opened.push(files)
    return files
  }
  afterEach(async () => {
    for (const files of opened.splice(0).toReversed()) await files.close()
  })

  describe.each(['database', 'prefix'] as const)('a writer of this process under %s', (strategy) => {
    it('is never waited for: who comes meanwhile is refused at once, and reads', async () => {
      const files = await start()
      const [a, b] = await twoTenants(files, strategy)
      const [clientA, clientB] = [clientOf(files, a), clientOf(files, b)]
      insert(clientA, 'before')
      await files.server.inNamespace(a, async (session) => {
        await session.run(files.server.parseDdl('ALTER TABLE notes ADD later integer').render(a))
        for (const write of [
          () => insert(clientA, 'meanwhile'),
          () => clientA.transaction(() => insert(clientA, 'meanwhile'))(),
        ]) {
          let code: string | undefined
          expect(timed(() => (code = codeNow(write)))).toBeLessThan(AT_ONCE_MS)
          expect(code).toBe(BUSY)
        }
        expect(textsOf(clientA)).toEqual(['before'])
        // A file of one's own is nobody else's.
        expect(codeNow(() => insert(clientB, 'of b'))).toBe(strategy === 'prefix' ? BUSY : undefined)
      })
      insert(clientA, 'after')
      expect(textsOf(clientA)).toEqual(['before', 'after'])
      expect(textsOf(clientB)).toEqual(strategy === 'prefix' ? [] : ['of b'])
    })

    it('statements of others never land in the transaction of the admin', async () => {
      const files = await start()
      const [a, b] = await twoTenants(files, strategy)
      const undone = files.server.admin.transaction(async (query) => {
        await query('create table of_admin (id integer)')
        codeNow(() => insert(clientOf(files, a), 'of a'))
        await query('insert into of_admin values (1)')
        codeNow(() => clientOf(files, b).transaction(() => insert(clientOf(files, b), 'of b'))())
        throw new Error('undo')
      })
      await expect(undone).rejects.toThrow('undo')
      const kept = strategy === 'prefix' ? [] : [['of a'], ['of b']].flat()
      expect([...textsOf(clientOf(files, a)), ...textsOf(clientOf(files, b))]).toEqual(kept)
      expect(await files.server.admin.query(`select name from sqlite_schema where name = 'of_admin'`)).toEqual([])
    })
  })

  describe.each(['database', 'prefix'] as const)('a writer of another process under %s', (strategy) => {
    it('is waited for once, and shortly; then by nobody until one gets through', async () => {
      const files = await start()
      const [a, b] = await twoTenants(files, strategy)
      const client = clientOf(files, a)
      insert(client, 'before')
      const other = await besides(files, a)
      other.exec('begin immediate')
      let code: string | undefined
      const first = timed(() => (code = codeNow(() => insert(client, 'first'))))
      expect(code).toBe(BUSY)
      expect(first).toBeGreaterThan(50)
      expect(first).toBeLessThan(2000)
      const many = timed(() => {
        for (let i = 0; i < 20; i++) {
          expect(codeNow(() => insert(client, 'more'))).toBe(BUSY)
          expect(codeNow(client.transaction(() => insert(client, 'more')))).toBe(BUSY)
        }
      })
      expect(many).toBeLessThan(1000)
      expect(textsOf(client)).toEqual(['before'])
      expect(codeNow(() => insert(clientOf(files, b), 'of b'))).toBe(strategy === 'prefix' ? BUSY : undefined)
      other.exec('rollback')
      insert(client, 'after')
      other.exec('begin immediate')
      expect(timed(() => codeNow(() => insert(client, 'again')))).toBeGreaterThan(50)
      other.close()
      expect(textsOf(client)).toEqual(['before', 'after'])
    })

    it('a shorter wait than that can be asked for', async () => {
      const files = await start({ poolTimeout: 0.01 })
      const [a] = await twoTenants(files, strategy)
      const other = await besides(files, a)
      other.exec('begin immediate')
      expect(timed(() => expect(codeNow(() => insert(clientOf(files, a), 'x'))).toBe(BUSY))).toBeLessThan(AT_ONCE_MS)
      other.close()
    })
  })

  it.each(['database', 'prefix'] as const)(
    'a transaction for a whole request is refused under %s',
    async (strategy) => {
      const files = await start()
      const [a] = await twoTenants(files, strategy)
      expect(await codeOf(() => files.server.lazyTransaction(a, open))).toBe('TENANCY_ERR_STATEMENT_REFUSED')
      insert(clientOf(files, a), 'still works')
    },
  )

  describe.each(['database', 'prefix'] as const)('a transaction under %s', (strategy) => {
    it('that SQLite gave up by itself takes nothing more, and is not committed', async () => {
      const files = await start()
      const [a] = await twoTenants(files, strategy)
      const client = clientOf(files, a)
      insert(client, 'taken')
      const lost = client.transaction(() => {
        insert(client, 'undone')
        codeNow(() => client.prepare(`insert or rollback into ${TABLE} (text) values ('taken')`).run())
        expect(codeNow(() => insert(client, 'alone'))).toBe('TENANCY_ERR_TRANSACTION_FINISHED')
        expect(codeNow(() => textsOf(client))).toBe('TENANCY_ERR_TRANSACTION_FINISHED')
      })
      expect(codeNow(lost)).toBe('TENANCY_ERR_TRANSACTION_ROLLED_BACK')
      insert(client, 'after')
      expect(textsOf(client)).toEqual(['taken', 'after'])
    })

    it('of one inside of another: a savepoint for the same tenant, nothing written for others of the file', async () => {
      const files = await start()
      const [a, b] = await twoTenants(files, strategy)
      const [clientA, again, clientB] = [clientOf(files, a), clientOf(files, a), clientOf(files, b)]
      insert(clientB, 'of b')
      clientA.transaction(() => {
        insert(clientA, 'kept')
        expect(
          codeNow(
            again.transaction(() => {
              insert(again, 'undone')
              insert(again, 'undone')
            }),
          ),
        ).toBe('SQLITE_CONSTRAINT_UNIQUE')
        again.transaction(() => insert(again, 'kept too'))()
        const code = strategy === 'prefix' ? 'TENANCY_ERR_STATEMENT_REFUSED' : undefined
        expect(codeNow(() => insert(clientB, 'beside'))).toBe(code)
        expect(codeNow(clientB.transaction(() => insert(clientB, 'beside, whole')))).toBe(code)
        expect(textsOf(clientB)[0]).toBe('of b')
        expect(textsOf(clientB)).not.toContain('kept')
      })()
      expect(textsOf(clientA)).toEqual(['kept', 'kept too'])
      expect(textsOf(clientB)).toEqual(strategy === 'prefix' ? ['of b'] : ['of b', 'beside', 'beside, whole'])
    })

    it('whose callback is asynchronous is refused with what to do', async () => {
      const files = await start()
      const [a] = await twoTenants(files, strategy)
      const client = clientOf(files, a)
      const asynchronous = client.transaction(async () => insert(client, 'undone'))
      expect(() => asynchronous()).toThrow(/asynchronous.*without `async`/)
      expect(codeNow(() => asynchronous())).toBe('TENANCY_ERR_STATEMENT_REFUSED')
      expect(textsOf(client)).toEqual([])
      expect(codeNow(() => client.prepare('savepoint sp0').run())).toBe('TENANCY_ERR_STATEMENT_REFUSED')
      insert(client, 'after')
    })
  })

  it('the file that was used least recently is closed for another one', async () => {
    const files = await start({ maxOpenFiles: 2 })
    const [a, b] = await twoTenants(files, 'database')
    const [c] = await twoTenants(files, 'database')
    for (const one of [a, b, a, c]) textsOf(clientOf(files, one))
    expect(openTenantFiles(files)).toEqual(new Set([ownFile(files, a), ownFile(files, c)]))
  })

  it('as many files are open as may be, the one of a transaction among them, and none after a tenant is forgotten', async () => {
    const files = await start({ maxOpenFiles: 2 })
    const tenants = [...(await twoTenants(files, 'database')), ...(await twoTenants(files, 'database'))]
    const [a, b, c] = tenants as [Scope, Scope, Scope]
    for (let round = 0; round < 3; round++) {
      for (const one of tenants) {
        insert(clientOf(files, one), `round ${round}`)
        textsOf(clientOf(files, one))
        expect(openTenantFiles(files).size).toBeLessThanOrEqual(2)
      }
    }
    clientOf(files, a).transaction(() => {
      for (const one of [b, c, b]) insert(clientOf(files, one), `inside ${Math.random()}`)
      insert(clientOf(files, a), 'still open')
      clientOf(files, b).transaction(() => {
        expect(codeNow(() => insert(clientOf(files, c), 'no room'))).toBe(BUSY)
      })()
    })()
    expect(textsOf(clientOf(files, a))).toContain('still open')
    files.server.forget?.(a)
    expect(openTenantFiles(files).has(ownFile(files, a))).toBe(false)
    // Inside of its own transaction, when that is over.
    clientOf(files, a).transaction(() => {
      files.server.forget?.(a)
      insert(clientOf(files, a), 'kept')
    })()
    expect(openTenantFiles(files).has(ownFile(files, a))).toBe(false)
    expect(textsOf(clientOf(files, a))).toContain('kept')
    await files.server.close()
    expect(openTenantFiles(files).size).toBe(0)
    expect(codeNow(() => textsOf(clientOf(files, a)))).toBe('TENANCY_ERR_CLOSED')
  })

  it('a link, another tenant’s file or none at all in the place of a file is not opened', async () => {
    const files = await start()
    const [a, b] = await twoTenants(files, 'database')
    insert(clientOf(files, b), 'of b')
    const reopened = () => {
      for (const one of [a, b]) files.server.forget?.(one)
      return codeNow(() => textsOf(clientOf(files, a)))
    }
    renameSync(ownFile(files, a), `${ownFile(files, a)}.away`)
    expect(reopened()).toBe(UNAVAILABLE)
    expect(codeNow(() => insert(clientOf(files, a), 'x'))).toBe(UNAVAILABLE)
    symlinkSync(ownFile(files, b), ownFile(files, a))
    expect(reopened()).toBe('TENANCY_ERR_NAMESPACE_EXISTS')
    rmSync(ownFile(files, a))
    copyFileSync(ownFile(files, b), ownFile(files, a))
    expect(reopened()).toBe('TENANCY_ERR_NAMESPACE_EXISTS')
    expect(codeNow(() => insert(clientOf(files, a), 'x'))).toBe('TENANCY_ERR_NAMESPACE_EXISTS')
    rmSync(ownFile(files, a))
    renameSync(`${ownFile(files, a)}.away`, ownFile(files, a))
    expect(reopened()).toBeUndefined()
  })

  it('what is destroyed is closed, and nobody finds it again', async () => {
    const files = await start()
    for (const strategy of ['database', 'prefix'] as const) {
      const [a, b] = await twoTenants(files, strategy)
      const kept = clientOf(files, a).prepare(`select text from ${TABLE}`)
      insert(clientOf(files, a), 'gone')
      insert(clientOf(files, b), 'of b')
      expect(kept.all()).toHaveLength(1)
      await files.server.destroy(a)
      expect(codeNow(() => kept.all())).toBe(strategy === 'database' ? UNAVAILABLE : 'SQLITE_ERROR')
      expect(codeNow(() => insert(clientOf(files, a), 'x'))).toBe(
        strategy === 'database' ? UNAVAILABLE : 'SQLITE_ERROR',
      )
      expect(openTenantFiles(files).has(ownFile(files, a))).toBe(false)
      expect(textsOf(clientOf(files, b))).toEqual(['of b'])
    }
  })

  it('what the admin sends stays open nowhere', async () => {
    const files = await start()
    const [a] = await twoTenants(files, 'prefix')
    const admin = files.server.admin.client as ReturnType<typeof clientOf>
    insert(clientOf(files, a), 'before')
    for (const text of ['begin', 'commit', 'pragma query_only = on', 'savepoint x', 'pragma foreign_keys = off']) {
      codeNow(() => admin.prepare(text).run())
      codeNow(() => admin.prepare(text).all())
      insert(clientOf(files, a), text)
    }
    expect(textsOf(clientOf(files, a))).toHaveLength(6)
    admin.transaction(() => {
      admin.prepare('create table of_admin (id integer)').run()
      expect(codeNow(() => insert(clientOf(files, a), 'x'))).toBe('TENANCY_ERR_STATEMENT_REFUSED')
    })()
    expect(await files.server.admin.query('select count(*) as n from of_admin')).toEqual([{ n: 0 }])
  })
})

/** The files of tenants that this process has open, without those beside them. */
function openTenantFiles({ mainFile }: SqliteServer): Set<string> {
  const paths = readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      return [readlinkSync(`/proc/self/fd/${fd}`).replace(/ \(deleted\)$/, '')]
    } catch {
      return []
    }
  })
  return new Set(paths.filter((path) => path.startsWith(`${mainFile}.tenants/`) && path.endsWith('.db')))
}
