import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { identityOf, locationOf, prepare, tenantFile } from '../../../src/dialects/sqlite/location.ts'

const folder = realpathSync(mkdtempSync(join(tmpdir(), 'tenancy-location-')))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

it.each([
  ['file:/data/app.db', '/data/app.db'],
  ['file:///data/app.db', '/data/app.db'],
  ['file://localhost/data/app.db', '/data/app.db'],
  ['file:/data/a%20b.db', '/data/a b.db'],
  ['file:./rel.db', join(process.cwd(), 'rel.db')],
  ['file:rel.db', join(process.cwd(), 'rel.db')],
])('[W49] %s is made absolute, once', (url, mainFile) => {
  expect(locationOf(url)).toEqual({
    mainFile,
    registryFile: `${mainFile}.registry`,
    tenantFolder: `${mainFile}.tenants`,
  })
})

it.each([
  'file:',
  'file::memory:',
  ':memory:',
  'file:/data/',
  'file://host/app.db',
  'file:app.db?mode=ro',
  'file:app.db#x',
  'file:%zz.db',
  'file:a%00b.db',
  'libsql://db.example.com',
  'https://db.example.com',
])('%s is refused with a reason', (url) => {
  expect(() => locationOf(url)).toThrow(expect.objectContaining({ code: 'TENANCY_ERR_CONFIG_INVALID' }))
})

it('[W8] the main file cannot be inside the folder of the tenants', () => {
  expect(locationOf('file:/data/app.db', '/data/tenants').tenantFolder).toBe('/data/tenants')
  expect(() => locationOf('file:/data/app.db', '/data')).toThrow('inside the folder of the tenants')
  expect(() => locationOf('file:/data/app.db', '/')).toThrow('inside the folder of the tenants')
  // Nor by way of a link.
  const real = join(folder, 'real')
  mkdirSync(real)
  symlinkSync(real, join(folder, 'link'))
  const linked = locationOf(`file:${join(real, 'app.db')}`, join(folder, 'link'))
  expect(() => prepare(linked)).toThrow('inside the folder of the tenants')
})

it('a link, a folder or a socket is nobody’s file', () => {
  const location = prepare(locationOf(`file:${join(folder, 'app.db')}`))
  const path = tenantFile(location, 'x')
  expect(identityOf(path, 'x')).toBeUndefined()
  symlinkSync(join(folder, 'app.db'), path)
  expect(() => identityOf(path, 'x')).toThrow(expect.objectContaining({ code: 'TENANCY_ERR_NAMESPACE_EXISTS' }))
  rmSync(path)
  mkdirSync(path)
  expect(() => identityOf(path, 'x')).toThrow(expect.objectContaining({ code: 'TENANCY_ERR_NAMESPACE_EXISTS' }))
  rmSync(path, { recursive: true })
  writeFileSync(path, '')
  expect(identityOf(path, 'x')).toMatchObject({ inode: expect.any(Number) })
})
