import { execFile } from 'node:child_process'
import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'

const root = fileURLToPath(new URL('../..', import.meta.url))

const program = `
import { createDrizzlePostgresTenantStore } from './src/tenants/drizzle-postgres-store.ts'
const store = createDrizzlePostgresTenantStore({ admin: { client: {} }, drizzle: () => ({}) })
try { await store.count() } catch (error) { console.log(error.code, '|', error.message, '|', error.cause.code) }
`

describe('loadRegistryQueries', () => {
  let folder: string

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'tenancy-peer-'))
    await cp(join(root, 'src'), join(folder, 'src'), { recursive: true })
    await writeFile(join(folder, 'package.json'), '{"type":"module"}')
    await writeFile(join(folder, 'program.ts'), program)
    await mkdir(join(folder, 'node_modules'))
    await symlink(join(root, 'node_modules/@fastify'), join(folder, 'node_modules/@fastify'))
  })

  afterEach(() => rm(folder, { recursive: true }))

  it('tells at first use, not at import, that drizzle-orm is not installed', async () => {
    const tsx = join(root, 'node_modules/tsx/dist/loader.mjs')
    const { stdout } = await promisify(execFile)(process.execPath, ['--import', tsx, 'program.ts'], { cwd: folder })
    expect(stdout).toContain('TENANCY_ERR_PEER_MISSING | Cannot load `drizzle-orm`')
    expect(stdout).toContain('ERR_MODULE_NOT_FOUND')
  })
})
