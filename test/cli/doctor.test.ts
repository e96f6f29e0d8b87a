import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { doctor } from '../../src/cli/doctor.ts'
import type { DoctorReport } from '../../src/contracts/verification.ts'
import { rules } from '../../src/verification/rules.ts'
import type { TestDatabase } from '../servers/database.ts'
import { describeWith } from '../servers/suite.ts'
import { asSuperuser, baselineDatabase } from '../support/database.ts'

async function call(environment: Record<string, string>, ...args: string[]) {
  const written = { out: '', err: '' }
  const code = await doctor(
    args,
    { out: (text) => void (written.out += text), err: (text) => void (written.err += text) },
    environment,
  )
  return { code, ...written }
}

describeWith(['postgres18'], 'fastify-tenancy doctor', ({ postgres18 }) => {
  let database: TestDatabase
  let environment: Record<string, string>
  beforeAll(async () => {
    database = await baselineDatabase(postgres18.url)
    environment = {
      TENANCY_DATABASE_URL: database.appUrl,
      TENANCY_ADMIN_DATABASE_URL: database.adminUrl,
      TENANCY_ISOLATION_STRATEGY: 'schema',
    }
  })
  afterAll(() => database?.drop())
  const admin = (text: string) => asSuperuser(database, (client) => client.query(text))

  test('0 and the promise where all is well; what only code can give is not needed', async () => {
    const { code, out, err } = await call({
      ...environment,
      TENANCY_RESOLUTION_STRATEGY: 'custom',
      TENANCY_ISOLATION_STRATEGY: 'hybrid',
    })
    expect({ code, err }).toEqual({ code: 0, err: '' })
    expect(out).toContain('schema: guarded')
    expect(out).toContain('rls: guarded')
    expect(out).toContain(`ok    schema-1  ${rules['schema-1'][1]}`)
    expect(out).toMatch(/\n\d+ rules: \d+ kept, 0 broken\.\n$/)
  })

  test('0 with a warning, as a table and as JSON', async () => {
    await admin(`grant temporary on database ${database.database} to ${database.appRole}`)
    const { code, out } = await call(environment)
    expect(code).toBe(0)
    expect(out).toContain(
      `warn  schema-3  ${database.appRole}: it can create temporary tables\n      ${rules['schema-3'][2]}`,
    )
    const json = await call(environment, '--json')
    const report = JSON.parse(json.out) as DoctorReport
    expect(report).toMatchObject({ ok: true, findings: [{ rule: 'schema-3', severity: 'warning' }] })
    await admin(`revoke temporary on database ${database.database} from ${database.appRole}`)
  })

  test('1 for an error, also where the start itself is refused', async () => {
    await admin(`alter role ${database.appRole} bypassrls`)
    expect(await call(environment)).toMatchObject({
      code: 1,
      err: '',
      out: expect.stringContaining('ERROR rls-1') as string,
    })
    const refused = await call({ ...environment, TENANCY_ISOLATION_STRATEGY: 'rls' })
    expect(refused).toMatchObject({ code: 1, err: '', out: expect.stringContaining('BYPASSRLS') as string })
    await admin(`alter role ${database.appRole} nobypassrls`)
    expect(await call(environment)).toMatchObject({ code: 0 })
  })

  test('2 without the strategy: it would ask the rules of another one', async () => {
    const { TENANCY_ISOLATION_STRATEGY: _, ...without } = environment
    expect(await call(without)).toEqual({
      code: 2,
      out: '',
      err: expect.stringContaining('set TENANCY_ISOLATION_STRATEGY') as string,
    })
  })

  test('2 when it cannot be found out, without the password', async () => {
    await admin(`alter role ${database.appRole} nologin`)
    const url = new URL(database.appUrl)
    url.password = 'hush-hush'
    const { code, out, err } = await call({ ...environment, TENANCY_DATABASE_URL: url.href })
    await admin(`alter role ${database.appRole} login`)
    expect({ code, out }).toEqual({ code: 2, out: '' })
    expect(err).toMatch(/^fastify-tenancy doctor: TENANCY_ERR_DATABASE_UNAVAILABLE: .*not permitted to log in/)
    expect(err).not.toContain('hush-hush')
    const wrong = await call({ ...environment, TENANCY_DATABASE_URL: 'nonsense' })
    expect(wrong).toMatchObject({
      code: 2,
      out: '',
      err: expect.stringContaining('TENANCY_ERR_CONFIG_INVALID') as string,
    })
  })
})

describe('fastify-tenancy doctor on a file', () => {
  const folder = () => {
    const path = mkdtempSync(join(tmpdir(), 'tenancy-doctor-'))
    onTestFinished(() => rmSync(path, { recursive: true, force: true }))
    return path
  }

  test.each(['file:', 'pglite:'])('%s<path> that is not there: 2, and nothing is made', async (scheme) => {
    const path = join(folder(), 'data')
    const { code, err } = await call({
      TENANCY_DATABASE_URL: `${scheme}${path}`,
      TENANCY_ISOLATION_STRATEGY: 'prefix',
    })
    expect({ code, err }).toEqual({ code: 2, err: expect.stringContaining(`no database at ${path}`) as string })
    expect(existsSync(path)).toBe(false)
  })
})
