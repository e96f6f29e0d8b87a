/** One address of a Redis. */
export interface RedisNode {
  readonly host: string
  readonly port: number
}

/** Where a Redis is, how it is laid out, and who we are there. */
export interface RedisTarget {
  readonly layout: 'standalone' | 'cluster' | 'sentinel'
  readonly tls: boolean
  readonly username?: string
  readonly password?: string
  /** One for standalone; of the others, some that lead to all. */
  readonly nodes: readonly [RedisNode, ...RedisNode[]]
  /** What sentinels call the master. Only with `sentinel`. */
  readonly master?: string
  /** 0 in a cluster. */
  readonly database: number
}

/** The URLs that `redisUrl` may have. */
export const redisUrlForms =
  '`redis://[user:password@]host[:port][/database]`, `redis+cluster://host:port,host:port`, ' +
  '`redis+sentinel://host:port,host:port/master[/database]`, each also as `rediss…` for TLS'

const form = /^redis(s?)(?:\+(cluster|sentinel))?:\/\/(?:([^@/?#]*)@)?([^@/?#]+)((?:\/[^@/?#]*)*)$/
const address = /^(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(\d{1,5}))?$/i

/** Reads a URL of `redisUrl`; undefined when it is none, or when a part of it may be a piece of the password. */
export function parseRedisUrl(url: string): RedisTarget | undefined {
  const [, tls, kind, account, hosts = '', path = ''] = form.exec(url) ?? []
  const layout = (kind as RedisTarget['layout'] | undefined) ?? 'standalone'
  const nodes = hosts.split(',').map((host) => nodeOf(host, layout === 'sentinel' ? 26_379 : 6379))
  const place = placeOf(path.split('/').slice(1), layout)
  const login = loginOf(account)
  if (!allKnown(nodes) || (layout === 'standalone' && nodes.length > 1)) return undefined
  if (tls === undefined || place === undefined || login === undefined) return undefined
  return Object.freeze({ layout, tls: tls === 's', ...login, nodes, ...place })
}

function allKnown(nodes: readonly (RedisNode | undefined)[]): nodes is readonly [RedisNode, ...RedisNode[]] {
  return nodes.length > 0 && nodes.every((node) => node !== undefined)
}

function nodeOf(text: string, fallback: number): RedisNode | undefined {
  const [, host, digits] = address.exec(text) ?? []
  const port = digits === undefined ? fallback : Number(digits)
  if (host === undefined || port < 1 || port > 65_535) return undefined
  return { host: host.replace(/^\[|\]$/g, ''), port }
}

function loginOf(account: string | undefined): Pick<RedisTarget, 'username' | 'password'> | undefined {
  if (account === undefined || account === '') return {}
  const [user = '', ...rest] = account.split(':')
  if (rest.length > 1 || /%(?![\da-f]{2})/i.test(account)) return undefined
  const [password = ''] = rest.map(decodeURIComponent)
  return { ...(user !== '' && { username: decodeURIComponent(user) }), ...(password !== '' && { password }) }
}

/** What follows the hosts: the sentinels' name of the master, and the number of the database. */
function placeOf(
  segments: readonly string[],
  layout: RedisTarget['layout'],
): Pick<RedisTarget, 'master' | 'database'> | undefined {
  const given = segments.filter((segment, at) => segment !== '' || at < segments.length - 1)
  const [master, ...rest] = layout === 'sentinel' ? given : [undefined, ...given]
  const [database = '0', ...more] = rest
  if (layout === 'sentinel' && !/^[A-Za-z0-9._-]+$/.test(master ?? '')) return undefined
  if (more.length > 0 || !/^\d{1,5}$/.test(database) || (layout === 'cluster' && given.length > 0)) return undefined
  return { ...(master !== undefined && { master }), database: Number(database) }
}
