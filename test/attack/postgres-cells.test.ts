import { describe } from 'vitest'
import { pgCell, pgVariants } from '../matrix/postgres-cells.ts'
import { describeWith } from '../servers/suite.ts'
import {
  type OpenBrokenCell,
  pgConnectionOfTheFirst,
  pgDatabaseOfTheFirst,
  pgQualifierOfTheFirst,
  pgRoleOfTheFirst,
  pgScopeOfTheFirst,
  pgTextOfTheFirst,
} from './broken-cells.ts'
import { attackSuite } from './cell-suite.ts'

const broken: Readonly<Record<string, Readonly<Record<string, OpenBrokenCell>>>> = {
  schema: { 'a scope that is made once': pgScopeOfTheFirst },
  'schema, tenantRoles': { 'a role that is made once': pgRoleOfTheFirst },
  'schema, qualified': { 'texts remembered without their tenant': pgQualifierOfTheFirst },
  rls: { 'a scope that is made once': pgScopeOfTheFirst },
  prefix: { 'texts remembered without their tenant': pgTextOfTheFirst },
  database: {
    'connections kept without their database': pgDatabaseOfTheFirst,
    'connections kept without their database, which are the scope': pgConnectionOfTheFirst,
  },
}

describeWith(['postgres15'], 'attack on every cell of PostgreSQL', ({ postgres15 }) => {
  describe.each(pgVariants)('$name', (variant) => {
    attackSuite((poolSize, poolTimeout) => {
      // Going from one database to the next takes a connection of its own, and longer than a few milliseconds.
      const wait = variant.strategy.name === 'database' && poolTimeout !== undefined ? 0.2 : poolTimeout
      return pgCell('postgres15', postgres15.url, variant, poolSize, wait)
    }, broken[variant.name] ?? {})
  })
})
