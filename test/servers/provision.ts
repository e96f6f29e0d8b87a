import { execFile } from 'node:child_process'
import { accessSync, constants, existsSync, rmSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'

/** A program the tests need and how to get it. */
export interface Program {
  /** For messages: `PgBouncer`. */
  readonly name: string
  /** Its name in `TENANCY_TEST_WAIVE`. */
  readonly waiver: Waiver
  readonly binary: string
  /** Searched before PATH. */
  readonly folders: readonly string[]
  /** False when any other version of the binary may lie in PATH. */
  readonly inPath: boolean
  readonly aptPackage: string
}

/** What this machine offers for finding and installing programs. */
export interface Machine {
  readonly path: string
  readonly root: boolean
  readonly apt: boolean
  readonly docker: boolean
}

/** The servers that `TENANCY_TEST_WAIVE` can name, and a package. */
export const waivers = ['postgres15', 'postgres18', 'pgbouncer', 'mariadb', 'redis', 'better-sqlite3'] as const
export type Waiver = (typeof waivers)[number]

const WAIVE = 'TENANCY_TEST_WAIVE'
const POLICY = '/usr/sbin/policy-rc.d'
const CLUSTER_CONFIG = '/etc/postgresql-common/createcluster.conf'

/** dpkg has one lock: installations wait for each other. */
let installations: Promise<unknown> = Promise.resolve()
let updated = false

/** The servers this run does without, said so by the developer. Refused in CI, where nobody would notice. */
export function waivedServers(env: NodeJS.ProcessEnv = process.env): ReadonlySet<Waiver> {
  const names = (env[WAIVE] ?? '')
    .split(',')
    .map((name) => name.trim())
    .filter(Boolean)
  if (names.length > 0 && env['CI'] === 'true') {
    throw new Error(`${WAIVE}=${names.join(',')} is refused in CI: every server must be tested there.`)
  }
  const unknown = names.filter((name) => !isWaiver(name))
  if (unknown.length > 0)
    throw new Error(`${WAIVE} names unknown servers: ${unknown.join(', ')}. Known: ${waivers.join(', ')}.`)
  return new Set(names.filter(isWaiver))
}

/** The path of the program's binary; installs the Debian package if we may, else says how to get it. */
export async function provision(program: Program, machine: Machine = thisMachine()): Promise<string> {
  const found = findBinary(program, machine.path)
  if (found) return found
  if (!machine.apt || !machine.root) throw missing(program, machine)
  await aptInstall(program)
  const installed = findBinary(program, machine.path)
  if (!installed) throw new Error(`${program.aptPackage} is installed but brought no \`${program.binary}\`.`)
  return installed
}

export function findBinary(program: Program, path: string): string | undefined {
  const folders = program.inPath ? [...program.folders, ...path.split(delimiter).filter(Boolean)] : program.folders
  return folders.map((folder) => join(folder, program.binary)).find(isExecutable)
}

function thisMachine(): Machine {
  const path = process.env['PATH'] ?? ''
  const has = (binary: string) => path.split(delimiter).some((folder) => isExecutable(join(folder, binary)))
  return { path, root: process.getuid?.() === 0, apt: has('apt-get'), docker: has('docker') }
}

function missing(program: Program, machine: Machine): Error {
  const sudo = machine.root ? '' : 'sudo '
  const apt = `${sudo}apt-get update && ${sudo}apt-get install -y --no-install-recommends ${program.aptPackage}`
  const docker = 'docker run --rm -v "$PWD":/repo -w /repo node:20-bookworm sh -c "npm ci && npm test"'
  const remedy =
    machine.apt || !machine.docker ? `Install it: ${apt}` : `Run the tests where it can be installed: ${docker}`
  const searched = [...program.folders, ...(program.inPath ? ['PATH'] : [])].join(', ')
  return new Error(
    `${program.name} is missing: no executable \`${program.binary}\` in ${searched}.\n${remedy}\n` +
      `Or do without it, visibly: ${WAIVE}=${program.waiver}`,
  )
}

async function aptInstall(program: Program): Promise<void> {
  const install = async () => {
    const removeGuards = keepServicesDown()
    try {
      if (!updated) await aptGet('update')
      updated = true
      await aptGet('install', '-y', '--no-install-recommends', program.aptPackage)
    } finally {
      removeGuards()
    }
  }
  const turn = installations.then(install)
  installations = turn.catch(() => undefined)
  await turn
}

/** Debian starts what it installs and creates a PostgreSQL cluster; the tests want the binaries only. */
function keepServicesDown(): () => void {
  if (!existsSync(CLUSTER_CONFIG)) writeNew(CLUSTER_CONFIG, 'create_main_cluster = false\n')
  if (!writeNew(POLICY, '#!/bin/sh\nexit 101\n', 0o755)) return () => {}
  const remove = () => rmSync(POLICY, { force: true })
  process.on('exit', remove)
  return () => {
    process.off('exit', remove)
    remove()
  }
}

function writeNew(file: string, content: string, mode = 0o644): boolean {
  try {
    writeFileSync(file, content, { flag: 'wx', mode })
    return true
  } catch {
    return false
  }
}

async function aptGet(...args: string[]): Promise<void> {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', UCF_FORCE_CONFFOLD: '1' }
  const options = ['-o', 'DPkg::Lock::Timeout=120', '-o', 'Dpkg::Options::=--force-confold']
  await new Promise<void>((done, fail) => {
    execFile('apt-get', [...options, ...args], { env, maxBuffer: 16 * 1024 * 1024 }, (error, stdout, stderr) => {
      if (error) fail(new Error(`apt-get ${args.join(' ')} failed:\n${stdout}${stderr}`, { cause: error }))
      else done()
    })
  })
}

function isWaiver(name: string): name is Waiver {
  return (waivers as readonly string[]).includes(name)
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}
