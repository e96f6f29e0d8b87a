import { describe, expect, test } from 'vitest'
import { parseRedisUrl } from '../../src/util/redis-url.ts'

const local = { layout: 'standalone', tls: false, nodes: [{ host: 'cache', port: 6379 }], database: 0 }

describe('parseRedisUrl', () => {
  test.each<[string, object]>([
    ['redis://cache', local],
    ['redis://cache/', local],
    ['redis://cache:7000/3', { ...local, nodes: [{ host: 'cache', port: 7000 }], database: 3 }],
    ['rediss://cache', { ...local, tls: true }],
    ['redis://:p%40ss@cache', { ...local, password: 'p@ss' }],
    ['redis://app:p%3Ass@cache', { ...local, username: 'app', password: 'p:ss' }],
    ['redis://[::1]:6380', { ...local, nodes: [{ host: '::1', port: 6380 }] }],
    [
      'rediss+cluster://app:pw@a:1,b,10.0.0.1:3',
      {
        layout: 'cluster',
        tls: true,
        username: 'app',
        password: 'pw',
        nodes: [
          { host: 'a', port: 1 },
          { host: 'b', port: 6379 },
          { host: '10.0.0.1', port: 3 },
        ],
        database: 0,
      },
    ],
    [
      'redis+sentinel://:pw@a,b:2/my-master/4',
      {
        layout: 'sentinel',
        tls: false,
        password: 'pw',
        nodes: [
          { host: 'a', port: 26_379 },
          { host: 'b', port: 2 },
        ],
        master: 'my-master',
        database: 4,
      },
    ],
  ])('reads %s', (url, target) => {
    expect(parseRedisUrl(url)).toEqual(target)
  })

  test.each([
    '',
    'cache',
    'http://cache',
    'REDIS://cache',
    'redis:cache',
    'redis://',
    'redis://cache:0',
    'redis://cache:65536',
    'redis://cache:6379x',
    'redis://a,b',
    'redis://cache/one',
    'redis://cache/1/2',
    'redis://cache?db=1',
    'redis://cache#x',
    'redis://:pa/ss@cache',
    'redis://:pa?ss@cache',
    'redis://:pa@ss@cache',
    'redis://u:p:q@cache',
    'redis://:100%@cache',
    'redis+cluster://a,,b',
    'redis+cluster://a/1',
    'redis+sentinel://a',
    'redis+sentinel://a/',
    'redis+sentinel://a/my master',
    'redis+other://a',
  ])('refuses %j', (url) => {
    expect(parseRedisUrl(url)).toBeUndefined()
  })
})
