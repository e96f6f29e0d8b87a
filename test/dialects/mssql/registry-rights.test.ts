import { expect, it } from 'vitest'
import type { AdminConnection } from '../../../src/contracts/dialect.ts'
import { registryBreaches } from '../../../src/dialects/mssql/registry-rights.ts'

it('the serving login is asked for each right on each table of the registry', async () => {
  const asked: string[] = []
  const answering = (rows: object[]) =>
    (async (text: string, parameters?: readonly unknown[]) => {
      asked.push(`${text.replaceAll(/\s+/g, ' ')} -- ${JSON.stringify(parameters)}`)
      return rows
    }) as AdminConnection['query']
  expect(await registryBreaches(answering([]), 'tenancy')).toEqual([])
  expect(await registryBreaches(answering([{ name: 'tenancy' }]), 'tenancy')).toEqual([
    'it has rights in the schema tenancy, where the registry of tenants is',
  ])
  expect(asked[0]).toContain("where s.name = @p0 and o.type = 'U'")
  expect(asked[0]).toMatch(/ -- \["tenancy"\]$/)
  for (const right of ['SELECT', 'INSERT', 'UPDATE', 'DELETE']) expect(asked[0]).toContain(`N'OBJECT', N'${right}')`)
})
