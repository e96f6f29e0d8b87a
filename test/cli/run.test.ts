import { expect, test } from 'vitest'
import { run } from '../../src/cli/run.ts'
import { rolesScript } from '../../src/dialects/postgres/roles-script.ts'

const names = ['--database', 'saas', '--serving', 'app', '--admin', 'owner']

function call(...args: string[]) {
  const written = { out: '', err: '' }
  const code = run(args, {
    out: (text) => void (written.out += text),
    err: (text) => void (written.err += text),
  })
  return { code, ...written }
}

test('roles prints the script and nothing else', () => {
  const script = rolesScript({ database: 'saas', servingRole: 'app', adminRole: 'owner' })
  expect(call('roles', ...names)).toEqual({ code: 0, out: script, err: '' })
})

test('--extensions names another schema', () => {
  const script = rolesScript({ database: 'saas', servingRole: 'app', adminRole: 'owner', extensionsSchema: 'ext' })
  expect(call('roles', ...names, '--extensions', 'ext')).toEqual({ code: 0, out: script, err: '' })
})

test('--databases lets the admin role make databases for tenants, and end the sessions in them', () => {
  const { out } = call('roles', ...names, '--databases')
  const without = rolesScript({ database: 'saas', servingRole: 'app', adminRole: 'owner' })
  expect(out).toBe(`${without}alter role "owner" createdb;\ngrant "app" to "owner";\n`)
})

test('doctor --help: help on stdout, and a wrong option is told', () => {
  expect(call('doctor', '--help')).toMatchObject({ code: 0, err: '', out: expect.stringContaining('--json') as string })
  expect(call('doctor', '--jsonn')).toMatchObject({
    code: 2,
    out: '',
    err: expect.stringContaining('--jsonn') as string,
  })
})

test('--tenant-roles lets the admin role make roles, and nobody else change a session from within a statement', () => {
  const without = rolesScript({ database: 'saas', servingRole: 'app', adminRole: 'owner' })
  const { out } = call('roles', ...names, '--tenant-roles')
  expect(out.startsWith(without)).toBe(true)
  expect(out.slice(without.length)).toMatch(
    /"owner" createrole.*"app" noinherit.*revoke execute.*set_config.*revoke usage on language/s,
  )
})

test('--qualified keeps everybody but the admin role from changing a session from within a statement', () => {
  const without = rolesScript({ database: 'saas', servingRole: 'app', adminRole: 'owner' })
  const { out } = call('roles', ...names, '--qualified')
  expect(out.startsWith(without)).toBe(true)
  const more = out.slice(without.length)
  expect(more).toMatch(/set_config.* from public;.*to "owner";.*revoke usage on language.*set_config.* from "app";/s)
})

test.each([['--help'], ['-h'], ['help'], ['roles', '--help'], ['roles', '-h']])('%s %s: help on stdout', (...args) => {
  const { code, out, err } = call(...args.filter(Boolean))
  expect({ code, err }).toEqual({ code: 0, err: '' })
  for (const option of [
    '--database',
    '--serving',
    '--admin',
    '--extensions',
    '--databases',
    '--tenant-roles',
    '--qualified',
  ])
    expect(out).toContain(option)
})

test('no command: the usage on stderr, exit 2', () => {
  expect(call()).toMatchObject({ code: 2, out: '', err: expect.stringContaining('Usage:') as string })
})

test.each(['--version', '-v'])('%s: the version of the package', async (flag) => {
  const { version } = (await import('../../package.json', { with: { type: 'json' } })).default
  expect(call(flag)).toEqual({ code: 0, out: `${version}\n`, err: '' })
})

test('an unknown command is named', () => {
  const err = 'fastify-tenancy: unknown command "rolls". See `fastify-tenancy --help`.\n'
  expect(call('rolls')).toEqual({ code: 2, out: '', err })
})

test.each(['toString', '__proto__'])('%s is no command', (name) => {
  expect(call(name)).toMatchObject({ code: 2, out: '' })
})

test('all missing options are told at once', () => {
  const { code, out, err } = call('roles', '--serving', 'app')
  expect({ code, out }).toEqual({ code: 2, out: '' })
  expect(err).toBe('fastify-tenancy roles: missing --database, --admin. See `fastify-tenancy roles --help`.\n')
})

test.each([
  ['an unknown option', ['--databse', 'saas']],
  ['a positional', ['saas']],
  ['an option without its value', ['--extensions']],
  ['what exclude each other', ['--tenant-roles', '--qualified']],
  ['one role for both', ['--admin', 'app']],
  ['public for the extensions', ['--extensions', 'public']],
  ['an empty name', ['--database', '']],
  ['a name that PostgreSQL would cut off', ['--database', 'é'.repeat(32)]],
  ['a name that would end the DO block', ['--serving', 'a$$; drop table x; $$']],
  ['a line break', ['--serving', 'a\nb']],
])('%s is refused on stderr, with exit 2 and no SQL', (_what, args) => {
  const { code, out, err } = call('roles', ...names, ...args)
  expect({ code, out }).toEqual({ code: 2, out: '' })
  // The reason is not pushed out of sight by all the help there is.
  expect(err).toMatch(/^fastify-tenancy roles: .+\. See `fastify-tenancy roles --help`\.\n$/)
})

test('a name of 63 bytes is taken', () => {
  expect(call('roles', ...names, '--database', 'd'.repeat(63)).code).toBe(0)
})
