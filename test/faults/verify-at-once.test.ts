import { expect, it, onTestFinished } from 'vitest'
import { migrationsOf } from './fixture.ts'
import { describeWith } from '../servers/suite.ts'
import { tenantApp } from '../support/app.ts'
import { baselineDatabase } from '../support/database.ts'

const ORDERS =
  'create table "orders" ("tenant_id" uuid not null, "id" integer not null, primary key ("tenant_id", "id"))'

describeWith(['postgres15'], 'verify() under row policies', ({ postgres15 }) => {
  it('can be run several times at once, also when it has never been run', async () => {
    const database = await baselineDatabase(postgres15.url)
    onTestFinished(() => database.drop())
    const migrations = await migrationsOf([ORDERS])
    const app = await tenantApp(database, { migrations, isolationStrategy: 'rls' })
    await app.ready()
    onTestFinished(() => app.close())
    await app.tenancy.register({ identifier: 'acme' })
    const runs = Array.from({ length: 12 }, () => app.tenancy.verify('acme'))
    const failures = (await Promise.allSettled(runs)).flatMap((run) => (run.status === 'rejected' ? [run.reason] : []))
    expect(failures.map(({ code, cause }) => `${code}: ${cause?.message}`)).toEqual([])
  })
})
