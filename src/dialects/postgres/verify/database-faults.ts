import type { AdminConnection } from '../../../contracts/dialect.ts'
import type { Scope } from '../../../contracts/isolation.ts'
import { tenantMark } from '../tenant-mark.ts'
import type { Faults } from './namespace-faults.ts'

interface DatabaseRow {
  readonly mark: string | null
  readonly open: boolean
  readonly owned: boolean
  readonly rights: readonly string[]
  readonly everybody: readonly string[]
}

/** What the catalogue has against the database of a tenant; `role` serves. */
export async function databaseFaults(
  query: AdminConnection['query'],
  scope: Scope,
  role: string | null,
): Promise<Faults> {
  const [found] = await query<DatabaseRow>(
    `select pg_catalog.shobj_description(d.oid, 'pg_database') as mark, d.datallowconn as open,
       coalesce(pg_catalog.pg_has_role(r.oid, d.datdba, 'MEMBER'), false) as owned,
       array(select distinct g.privilege_type from pg_catalog.aclexplode(coalesce(d.datacl, pg_catalog.acldefault('d', d.datdba))) g
         where g.grantee <> 0 and g.grantee <> d.datdba and pg_catalog.pg_has_role(r.oid, g.grantee, 'MEMBER') order by 1) as rights,
       array(select distinct g.privilege_type from pg_catalog.aclexplode(coalesce(d.datacl, pg_catalog.acldefault('d', d.datdba))) g
         where g.grantee = 0 order by 1) as everybody
     from pg_catalog.pg_database d left join pg_catalog.pg_roles r on r.rolname = $2 where d.datname = $1`,
    [scope.namespace, role],
  )
  if (found === undefined) return { database: [`the database ${scope.namespace} does not exist`] }
  const { mark, open, owned, rights, everybody } = found
  const excess = rights.filter((right) => right !== 'CONNECT')
  return {
    database: [
      ...(mark === tenantMark(scope) ? [] : ['the database is not marked as made for this tenant']),
      ...(open ? [] : ['the database lets nobody in']),
    ],
    'database rights': [
      ...(owned ? ['the serving role owns the database, or is a member of its owner'] : []),
      ...(excess.length > 0 ? [`the serving role has ${excess.join(', ')} on the database`] : []),
      ...(everybody.length > 0 ? [`everybody has ${everybody.join(', ')} on the database`] : []),
    ],
  }
}
