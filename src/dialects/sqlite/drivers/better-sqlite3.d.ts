// It is no development dependency, because it is compiled when it is installed. What is used of it is in better-sqlite3-types.ts.
declare module 'better-sqlite3' {
  const Database: unknown
  export default Database
  // Named by the declarations of drizzle-orm/better-sqlite3.
  export type Database = object
  export type Options = object
  export interface RunResult {
    changes: number
    lastInsertRowid: number | bigint
  }
}
