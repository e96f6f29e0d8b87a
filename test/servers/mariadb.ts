import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type RunningServer, runTool, startServer } from './process.ts'
import { type Program, provision } from './provision.ts'

export interface RunningMariadb extends RunningServer {
  /** As `root`, who may do everything and needs no password. */
  readonly url: string
}

const server: Program = {
  name: 'MariaDB',
  waiver: 'mariadb',
  binary: 'mariadbd',
  folders: ['/usr/sbin', '/usr/libexec', '/opt/homebrew/bin', '/usr/local/bin'],
  inPath: true,
  aptPackage: 'mariadb-server',
}

const installer: Program = {
  ...server,
  binary: 'mariadb-install-db',
  folders: ['/usr/bin', '/opt/homebrew/bin', '/usr/local/bin'],
}

/** Small files. Commits reach the kernel but do not wait for the disk: what was committed outlives `kill()`. */
const INNODB = ['--innodb-log-file-size=8M', '--innodb-buffer-pool-size=32M', '--innodb-flush-log-at-trx-commit=2']

/** Starts a throw-away MariaDB with an empty data directory. */
export async function startMariadb(): Promise<RunningMariadb> {
  const file = await provision(server)
  const install = await provision(installer)
  const running = await startServer({
    name: 'MariaDB',
    file,
    args: (folder, port) => [
      '--no-defaults',
      `--datadir=${join(folder, 'data')}`,
      `--tmpdir=${folder}`,
      `--socket=${join(folder, 'socket')}`,
      `--pid-file=${join(folder, 'pid')}`,
      `--init-file=${join(folder, 'init.sql')}`,
      `--port=${port}`,
      '--bind-address=127.0.0.1',
      '--skip-name-resolve',
      '--skip-log-bin',
      ...INNODB,
    ],
    ready: /ready for connections/,
    stopSignal: 'SIGKILL',
    install: async (folder) => {
      // Without name resolution 127.0.0.1 is not localhost.
      const root = "'root'@'127.0.0.1'"
      const account = `CREATE USER IF NOT EXISTS ${root};\nGRANT ALL ON *.* TO ${root} WITH GRANT OPTION;\n`
      await writeFile(join(folder, 'init.sql'), account)
      const flags = [
        '--no-defaults',
        '--auth-root-authentication-method=normal',
        '--skip-test-db',
        '--skip-name-resolve',
      ]
      // Two that start at once would take each other's temporary files away.
      await runTool(install, [...flags, `--datadir=${join(folder, 'data')}`, `--tmpdir=${folder}`, ...INNODB], folder)
    },
  })
  return { ...running, url: `mysql://root@127.0.0.1:${running.port}/mysql` }
}
