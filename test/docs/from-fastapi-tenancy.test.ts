import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { configReference } from '../../src/config.ts'

/** Every setting of fastapi-tenancy. */
const theirs = `
  resolution_strategy isolation_strategy database_url database_pool_size database_max_overflow database_pool_timeout
  database_pool_recycle database_pool_pre_ping database_echo database_url_template max_cached_engines redis_url cache_ttl
  cache_enabled l1_cache_max_size l1_cache_ttl_seconds enable_rate_limiting rate_limit_per_minute rate_limit_window_seconds
  rate_limit_fail_closed tenant_header_name domain_suffix path_prefix jwt_secret jwt_algorithm jwt_tenant_claim
  enable_audit_logging enable_encryption encryption_key allow_tenant_registration max_tenants default_tenant_status
  enable_soft_delete enable_query_logging slow_query_threshold_ms enable_metrics premium_tenants
  premium_isolation_strategy standard_isolation_strategy schema_prefix public_schema`
  .trim()
  .split(/\s+/)

const page = readFileSync(fileURLToPath(new URL('../../docs/from-fastapi-tenancy.md', import.meta.url)), 'utf8')
const variables = new Set(configReference().map(({ variable }) => variable))
const [gone, changed] = page
  .split('These have the same name')
  .map((part) =>
    Array.from(part.matchAll(/^\| (`\w+`(?:, `\w+`)*) \|/gm), ([, cell = '']) =>
      cell.replaceAll('`', '').split(', '),
    ).flat(),
  )
const isHere = (name: string) => variables.has(`TENANCY_${name.toUpperCase()}`)

test('every setting of fastapi-tenancy that has no namesake here is told, once, and no other', () => {
  expect(gone?.toSorted()).toEqual(theirs.filter((name) => !isHere(name)).toSorted())
})

test('what is told to mean something else exists in both', () => {
  expect(changed).not.toEqual([])
  expect(changed?.filter((name) => !theirs.includes(name) || !isHere(name))).toEqual([])
})
