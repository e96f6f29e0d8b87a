import { expect, it } from 'vitest'
import { breachesOf } from '../../../src/dialects/mysql/baseline.ts'
import { breaksConnection, checkoutFailure, statementFailure } from '../../../src/dialects/mysql/failure.ts'
import { quoteAccount } from '../../../src/dialects/mysql/grants.ts'
import { parseMysqlUrl } from '../../../src/dialects/mysql/drivers/mysql-url.ts'
import { tenancyError } from '../../../src/errors.ts'

it('reads URLs, and takes no option of the driver from them', () => {
  expect(parseMysqlUrl('mysql://app:p%40ss%25@db:3307/saas?multipleStatements=true&database=x&charset=gbk')).toEqual({
    address: { host: 'db', port: 3307, user: 'app', password: 'p@ss%' },
    database: 'saas',
  })
  expect(parseMysqlUrl('mariadb://app@[::1]')).toEqual({
    address: { host: '::1', port: 3306, user: 'app', password: '' },
    database: undefined,
  })
  expect(parseMysqlUrl('mysql://a@h/?ssl=true&socketPath=%2Ftmp%2Fsocket').address).toMatchObject({
    ssl: {},
    socketPath: '/tmp/socket',
  })
  expect(parseMysqlUrl('mysql://a@h/?ssl={"ca":"x"}').address.ssl).toEqual({
    ca: 'x',
  })
  expect(parseMysqlUrl('mysql://a@h/?ssl=Amazon%20RDS').address.ssl).toBe('Amazon RDS')
  expect(parseMysqlUrl('mysql://a@h/?ssl=false').address).not.toHaveProperty('ssl')
})

it('knows which errors end a connection, and which are a database that is gone', () => {
  const server = (errno: number, sqlState: string) => Object.assign(new Error('x'), { errno, sqlState, code: 'ER_X' })
  const network = (code: string) => Object.assign(new Error('x'), { code })
  const unavailable = {
    code: 'TENANCY_ERR_DATABASE_UNAVAILABLE',
    statusCode: 503,
  }
  for (const error of [server(1053, '08S01'), server(1927, '70100'), server(4031, 'HY000'), network('ECONNRESET')]) {
    expect(breaksConnection(error)).toBe(true)
    expect(statementFailure(error)).toMatchObject(unavailable)
  }
  for (const error of [server(1062, '23000'), server(1317, '70100'), server(1213, '40001')]) {
    expect(breaksConnection(error)).toBe(false)
    expect(statementFailure(error)).toBe(error)
  }
  const cast = new TypeError('typeCast')
  expect(breaksConnection(cast)).toBe(true)
  expect(statementFailure(cast)).toBe(cast)
  expect(statementFailure('text')).toBe('text')
  expect(statementFailure(Object.assign(new Error('x'), { fatal: true }))).toMatchObject(unavailable)
  const closed = tenancyError('TENANCY_ERR_CLOSED')
  expect(checkoutFailure(closed)).toBe(closed)
  expect(checkoutFailure(new Error('Pool is closed.'))).toMatchObject({
    code: 'TENANCY_ERR_CLOSED',
  })
  expect(checkoutFailure(server(1045, '28000'))).toMatchObject(unavailable)
})

it('an error keeps its text and loses its parameters', () => {
  const error = Object.assign(new Error('x'), {
    errno: 1062,
    sqlState: '23000',
    sql: "insert 'secret'",
  })
  expect(statementFailure(error, 'insert ?')).toMatchObject({
    sql: 'insert ?',
  })
})

it('reads grants', () => {
  const account = 'TO `app`@`%` IDENTIFIED BY PASSWORD'
  expect(breachesOf(`GRANT USAGE ON *.* ${account}`)).toEqual([])
  expect(breachesOf(`GRANT SELECT, INSERT ON \`t1\`.* ${account}`)).toEqual([])
  expect(breachesOf('GRANT `reader`@`%` TO `app`@`%`')).toEqual([])
  expect(breachesOf()).toEqual([])
  expect(breachesOf(`GRANT SELECT ON *.* ${account}`)).toHaveLength(1)
  expect(breachesOf(`GRANT FILE, SUPER ON *.* ${account}`)).toEqual(['it has FILE, SUPER on all databases'])
  expect(breachesOf(`GRANT SELECT ON \`mysql\`.* ${account}`)).toHaveLength(1)
  for (const what of ['FUNCTION `t1`.`f`', '`t1`.*']) {
    expect(breachesOf(`GRANT EXECUTE ON ${what} ${account}`)).toEqual([
      expect.stringContaining('it can run stored functions on `t1`.'),
    ])
  }
  expect(breachesOf('GRANT USAGE ON *.* TO `app`@`%` WITH GRANT OPTION')).toEqual(['it can grant its rights to others'])
})

it('quotes accounts', () => {
  expect(quoteAccount('app@%')).toBe("'app'@'%'")
  expect(quoteAccount("a@b'\\@10.0.0.%")).toBe("'a@b''\\\\'@'10.0.0.%'")
})

it('finds a right on the registry, by a pattern too', () => {
  const grant = (object: string) => `GRANT SELECT ON ${object} TO \`app\`@\`%\``
  for (const object of ['`tenancy`.*', '`tenancy`.`tenants`', '`t%`.*', '`tenanc_`.*', '`%`.*', '`TENANCY`.*']) {
    expect(breachesOf(grant(object), 'tenancy')).toHaveLength(1)
  }
  for (const object of ['`t0001`.*', '`tenanc\\_`.*', '`tenancy2`.*', '`tena`.*', '`t\\%`.*', '`a.c`.*']) {
    expect(breachesOf(grant(object), 'tenancy')).toEqual([])
  }
  expect(breachesOf(grant('`a``b`.*'), 'a`b')).toHaveLength(1)
})
