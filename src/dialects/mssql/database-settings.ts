import type { AdminConnection } from '../../contracts/dialect.ts'

type Query = AdminConnection['query']

/** What a database lets code of other databases do. */
export interface DatabaseSettings {
  readonly name: string
  readonly chained: number
  readonly trusted: number
}

/** The settings of all databases that the admin login sees, or only of that of the session. */
export function databaseSettings(query: Query, which: 'all' | 'own'): Promise<DatabaseSettings[]> {
  return query<DatabaseSettings>(
    `select name, cast(is_db_chaining_on as int) as chained, cast(is_trustworthy_on as int) as trusted
     from sys.databases ${which === 'own' ? 'where name = db_name()' : ''}`,
  )
}

/** What settings of a database have against isolation. */
export function settingFaults({ chained, trusted }: DatabaseSettings): string[] {
  return [
    ...(chained === 1 ? ['DB_CHAINING is on: views of other databases read it without a right'] : []),
    ...(trusted === 1 ? ['TRUSTWORTHY is on: its code has the rights of its owner in other databases'] : []),
  ]
}

/** Whether the whole server lets views read other databases without a right. Not every kind of server has such a setting. */
export async function chainsEverywhere(query: Query): Promise<boolean> {
  const known = await query("select 1 as found where object_id(N'sys.configurations') is not null")
  if (known.length === 0) return false
  const [setting] = await query<{ value: number }>(
    "select cast(value_in_use as int) as value from sys.configurations where name = N'cross db ownership chaining'",
  )
  return setting?.value === 1
}
