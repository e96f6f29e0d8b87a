import { execFile } from 'node:child_process'
import { existsSync, lstatSync, mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { type Program, provision } from './provision.ts'
import type { BetterSqlite3 } from './types.ts'

const run = promisify(execFile)
const root = fileURLToPath(new URL('../..', import.meta.url))

/** Of 13 no binary runs on Node 20. */
const WANTED = 'better-sqlite3@12'
/** Where drizzle-orm looks for it, and git does not. */
const link = join(root, 'node_modules/better-sqlite3')

const compilers: readonly Program[] = [
  { name: 'A C++ compiler', binary: 'g++', aptPackage: 'build-essential' },
  { name: 'Python', binary: 'python3', aptPackage: 'python3' },
].map((program) => ({ ...program, waiver: 'better-sqlite3', folders: [], inPath: true }))

/**
 * Puts better-sqlite3 where it is found: no development dependency, because it is compiled where it is installed, for a minute. That is
 * done once for each version of Node, in a folder of the user's cache.
 */
export async function provideBetterSqlite3(): Promise<BetterSqlite3> {
  const known = await installedVersion()
  if (known !== undefined) return { version: known }
  const cache = process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache')
  const folder = join(cache, 'fastify-tenancy', `better-sqlite3-12-node-${process.versions.modules}`)
  const target = join(folder, 'node_modules/better-sqlite3')
  if ((await versionIn(target)) === undefined) await install(folder)
  rmSync(link, { force: true, recursive: lstatSync(link, { throwIfNoEntry: false })?.isDirectory() ?? false })
  symlinkSync(target, link)
  const version = await installedVersion()
  if (version === undefined) throw missing(folder)
  return { version }
}

const installedVersion = () => versionIn(link)

/** The version of the package in a folder, if it can be used: asked in a process of its own, which a bad binary may end. */
async function versionIn(folder: string): Promise<string | undefined> {
  const script = `const Database = require(${JSON.stringify(folder)}); new Database(':memory:').close(); console.log(require(${JSON.stringify(`${folder}/package.json`)}).version)`
  const output = await run(process.execPath, ['-e', script]).catch(() => undefined)
  const version = output?.stdout.trim()
  return version?.startsWith('12.') === true ? version : undefined
}

async function install(folder: string): Promise<void> {
  mkdirSync(join(folder, '..'), { recursive: true })
  // Beside it first: another run may do the same.
  const made = mkdtempSync(`${folder}-`)
  try {
    const npm = () =>
      run('npm', ['install', '--no-audit', '--no-fund', '--prefix', made, WANTED], { cwd: made, env: withHeaders() })
    await npm().catch(async () => {
      for (const compiler of compilers) await provision(compiler)
      await npm()
    })
    rmSync(folder, { recursive: true, force: true })
    renameSync(made, folder)
  } catch (error) {
    throw missing(folder, error)
  } finally {
    rmSync(made, { recursive: true, force: true })
  }
}

/** The headers that came with Node, where they did: no need to download them. */
function withHeaders(): NodeJS.ProcessEnv {
  const prefix = dirname(dirname(process.execPath))
  const known = existsSync(join(prefix, 'include/node/node.h'))
  return known ? { ...process.env, npm_config_nodedir: prefix } : process.env
}

function missing(folder: string, cause?: unknown): Error {
  const [, ...lines] = cause instanceof Error ? cause.message.split('\n') : ['']
  return new Error(
    `better-sqlite3 is missing, and could not be installed.\nInstall it: npm install --prefix ${folder} ${WANTED} (it needs a C++ compiler, make and python3)\nOr do without it, visibly: TENANCY_TEST_WAIVE=better-sqlite3\n${lines.slice(-5).join('\n')}`,
    { cause },
  )
}
