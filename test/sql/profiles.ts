export { mssqlProfile } from '../../src/dialects/mssql/profile.ts'
export { mysqlProfile } from '../../src/dialects/mysql/profile.ts'
export { postgresProfile } from '../../src/dialects/postgres/profile.ts'
export { sqliteProfile } from '../../src/dialects/sqlite/profile.ts'
