import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'
import { BaseSequencer, type TestSpecification } from 'vitest/node'

const root = fileURLToPath(new URL('..', import.meta.url))
const portable = ['test/{conformance,matrix,attack,faults,shared}/**/*.test.ts', 'test/e2e/**/*.test.ts']

/** Their apps are processes of their own, which run the installed drizzle-orm whatever is aliased here. */
const inProcesses = ['test/e2e/demo.test.ts']

/** They send no query of Drizzle's, or nothing that depends on it. Where SQL Server is concerned there is no other version. */
const withoutDrizzle = [
  'test/faults/!(mssql|registry-flood)*.test.ts',
  'test/conformance/!(mssql)*-{verify,doctor}.test.ts',
  'test/conformance/pglite-folder-lock.test.ts',
  'test/conformance/postgres-{altered-session,design,destroy,rls-repairs,row-key,tenant-roles}.test.ts',
  'test/attack/{left-encoding,negative-controls,postgres-schema,qualified,tenant-roles,two-hosts}.test.ts',
]

/** Attacks take the longest: one that began last would keep everybody waiting. */
class AttacksFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files)
    const isAttack = ({ moduleId }: TestSpecification) => moduleId.includes('/test/attack/')
    return [...sorted.filter(isAttack), ...sorted.filter((file) => !isAttack(file))]
  }
}

export default defineConfig({
  root,
  test: {
    globalSetup: ['test/servers/global-setup.ts'],
    pool: 'forks',
    // By default one on a machine with two cores; tests mostly wait for a server.
    maxWorkers: Math.max(3, availableParallelism()),
    sequence: { sequencer: AttacksFirst },
    testTimeout: 60_000,
    hookTimeout: 60_000,
    coverage: {
      provider: 'v8',
      include: ['src/**'],
      // What only runs on a SQL Server, which neither a developer's machine nor CI may have: the suites say so.
      exclude: process.env['TENANCY_TEST_MSSQL_URL'] ? [] : ['src/dialects/mssql/drivers/**'],
      reporter: ['text-summary'],
      thresholds: { lines: 95 },
    },
    projects: [
      {
        extends: true,
        // 0.45 has no SQL Server. Node says so when that is imported; Vite would when it reads the import.
        resolve: {
          alias: [{ find: /^drizzle-orm\/node-mssql$/, replacement: `${root}test/support/no-such-entry.ts` }],
        },
        test: { name: 'drizzle-0.45', include: ['test/**/*.test.ts'] },
      },
      {
        extends: true,
        resolve: { alias: [{ find: /^drizzle-orm(\/.*)?$/, replacement: 'drizzle-orm-v1$1' }] },
        // The other version attacks at full length; what confines a tenant is the same code.
        test: {
          name: 'drizzle-1.0',
          include: portable,
          exclude: [...inProcesses, ...withoutDrizzle],
          env: { ATTACK_OPERATIONS: process.env['ATTACK_OPERATIONS'] ?? '2500' },
        },
      },
    ],
  },
})
