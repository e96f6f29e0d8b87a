import { readdirSync, readFileSync } from 'node:fs'
import { join, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { layerBreaches, type Sources } from './layers.ts'

const root = fileURLToPath(new URL('../../src', import.meta.url))
const declared = JSON.parse(readFileSync(join(root, '../package.json'), 'utf8')) as {
  dependencies: Record<string, string>
  peerDependencies: Record<string, string>
}
const packages = new Set([declared.dependencies, declared.peerDependencies].flatMap(Object.keys))

function realSources(): Map<string, string> {
  const files = readdirSync(root, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
  return new Map(
    files.map(({ parentPath, name }) => {
      const path = join(parentPath, name)
      return [path.slice(root.length + 1).replaceAll(sep, '/'), readFileSync(path, 'utf8')]
    }),
  )
}

const check = (sources: Sources) => layerBreaches(sources, packages)

test('imports of src point down, and drivers stay in their folder', () => {
  const sources = realSources()
  expect(sources.size).toBeGreaterThan(40)
  expect(check(sources)).toEqual([])
})

/** A sound skeleton; each case adds or replaces one file. */
const skeleton: Readonly<Record<string, string>> = {
  'errors.ts': `import createError from '@fastify/error'`,
  'events.ts': `import { tenancyError } from './errors.ts'`,
  'contracts/tenant.ts': `import type { TenancyError } from '../errors.ts'`,
  'contracts/store.ts': `import type { Tenant } from './tenant.ts'`,
  'util/slug.ts': `import { tenancyError } from '../errors.ts'\nimport type { Tenant } from '../contracts/tenant.ts'`,
  'context.ts': `import { tenancyError } from './errors.ts'`,
  'cache/lru.ts': `import { LRUCache } from 'lru-cache'`,
  'resolvers/header.ts': `import { slug } from '../util/slug.ts'`,
  'isolation/schema.ts': `import { currentContext } from '../context.ts'`,
  'dialects/postgres/drivers/pg.ts': `const pg = await import('pg')\nimport type { Pool } from 'pg'`,
  'dialects/postgres/scope.ts': `// from 'pg'\n/* import '../../plugin.ts' */ const url = 'http://a' + "/* not a comment"`,
  'dialects/mysql/scope.ts': `import type { Tenant } from '../../contracts/tenant.ts'`,
  'migrations/runner.ts': `import { schema } from '../isolation/schema.ts'`,
  'lifecycle/registration.ts': `import { run } from '../migrations/runner.ts'`,
  'admission/admission.ts': `import { header } from '../resolvers/header.ts'`,
  'addons/audit/audit.ts': `import { registration } from '../../lifecycle/registration.ts'`,
  'addons/jobs/jobs.ts': ``,
  'plugin.ts': `import { registration } from './lifecycle/registration.ts'\nimport fp from 'fastify-plugin'`,
  'index.ts': `export { plugin } from './plugin.ts'`,
  'cli/main.ts': `import { plugin } from '../plugin.ts'`,
  'testing/app.ts': ``,
}

test('the skeleton of the next tests is sound', () => {
  expect(check(new Map(Object.entries(skeleton)))).toEqual([])
})

test.each<[what: string, file: string, text: string, breach: string]>([
  ['upwards', 'cache/lru.ts', `import { schema } from '../isolation/schema.ts'`, 'above'],
  ['upwards for a type', 'contracts/store.ts', `import type { Slug } from '../util/slug.ts'`, 'above'],
  ['upwards for an inline type', 'errors.ts', `import { type Tenant } from './contracts/tenant.ts'`, 'above'],
  ['upwards by import() in a type', 'errors.ts', `let t: import('./contracts/tenant.ts').Tenant`, 'above'],
  ['upwards by a dynamic import', 'util/slug.ts', `await import('../plugin.ts')`, 'above'],
  ['upwards by export from', 'contracts/tenant.ts', `export { schema } from '../isolation/schema.ts'`, 'above'],
  ['upwards by export *', 'contracts/tenant.ts', `export * from "../isolation/schema.ts"`, 'above'],
  ['upwards for effect', 'migrations/runner.ts', `import '../plugin.ts'`, 'above'],
  ['upwards over lines', 'migrations/runner.ts', `import {\n  a,\n  b,\n} from '../plugin.ts'`, 'above'],
  ['upwards by augmentation', 'util/slug.ts', `declare module '../plugin.ts' {}`, 'above'],
  ['wiring into the CLI', 'plugin.ts', `import { main } from './cli/main.ts'`, 'above'],
  ['sideways to a folder', 'resolvers/header.ts', `import { lru } from '../cache/lru.ts'`, 'beside'],
  ['sideways to a file', 'resolvers/header.ts', `import { currentContext } from '../context.ts'`, 'beside'],
  ['sideways to a dialect', 'isolation/schema.ts', `import '../dialects/postgres/scope.ts'`, 'beside'],
  ['sideways in row 4', 'admission/admission.ts', `import '../lifecycle/registration.ts'`, 'beside'],
  ['between cli and testing', 'testing/app.ts', `import '../cli/main.ts'`, 'beside'],
  ['a rival dialect', 'dialects/mysql/scope.ts', `import '../postgres/scope.ts'`, 'rival'],
  ['a rival addon', 'addons/jobs/jobs.ts', `import '../audit/audit.ts'`, 'rival'],
  ['a driver outside its folder', 'dialects/postgres/scope.ts', `import type { Pool } from 'pg'`, 'belongs in'],
  ['a driver after a comment', 'plugin.ts', `/* a */ const pg = import('pg')`, 'belongs in'],
  ['a driver required', 'plugin.ts', `const pg = require('pg')`, 'belongs in'],
  ['a driver adapter', 'tenants/store.ts', `await import('drizzle-orm/node-postgres')`, 'belongs in'],
  ['lru-cache outside cache', 'tenants/store.ts', `import { LRUCache } from 'lru-cache'`, 'belongs in'],
  ['an optional peer eagerly', 'tenants/store.ts', `import { sql } from 'drizzle-orm'`, 'eagerly'],
  ['a driver eagerly', 'dialects/postgres/drivers/pg.ts', `import pg from 'pg'`, 'eagerly'],
  ['an undeclared package', 'plugin.ts', `import _ from 'lodash'`, 'does not declare'],
  ['a development dependency', 'plugin.ts', `import { test } from 'vitest'`, 'does not declare'],
  ['a computed name', 'plugin.ts', `const driver = await import(name)`, 'computed'],
  ['out of src', 'plugin.ts', `import '../test/support/app.ts'`, 'not in src'],
  ['a file without a layer', 'helpers/misc.ts', ``, 'no layer'],
  ['a file that is not TypeScript', 'util/old.js', ``, 'no TypeScript'],
])('%s is a breach', (_what, file, text, breach) => {
  const found = check(new Map(Object.entries({ ...skeleton, [file]: text })))
  expect(found).toEqual([expect.stringContaining(breach)])
  expect(found[0]).toMatch(new RegExp(`^${file}: `))
})
