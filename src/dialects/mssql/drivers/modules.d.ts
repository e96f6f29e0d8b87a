/* mssql has no types of its own, and drizzle-orm 0.45 has no SQL Server: what we use of both is described where it is used. */

declare module 'mssql' {
  const mssql: unknown
  export default mssql
}

declare module 'drizzle-orm/node-mssql' {
  export const drizzle: unknown
}
