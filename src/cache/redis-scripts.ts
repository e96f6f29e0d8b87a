import { createHash } from 'node:crypto'
import type { RedisClient } from '../contracts/redis.ts'

/** A Lua script about one key, so that it runs in a cluster too. */
export type RedisScript = (
  client: RedisClient,
  key: string,
  ...parameters: readonly (string | number)[]
) => Promise<unknown>

/**
 * A tenant's key is a hash: `r` the reign in which it was written, `v` the lowest version still accepted, `p` the payload
 * and `t` the moment the store was asked for it, `l` the token of the leases that are still good.
 *
 * A reign is one life of one master: a restart or a failover begins another, in which changes of the one before may be
 * lost. So nothing of an earlier reign is believed, but its floor. A replica answers nothing: it may be behind.
 *
 * A key of the wrong type is somebody else's mistake: it is removed.
 */
const PRELUDE = `
local info = redis.call('INFO', 'replication')
local reign = string.match(info, 'role:(%a+)') == 'master' and string.match(info, 'master_replid:(%x+)')
if not reign then return redis.error_reply('READONLY not a master, or one that does not tell its reign') end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local key = KEYS[1]
local kind = redis.call('TYPE', key).ok
if kind ~= 'hash' and kind ~= 'none' then redis.call('UNLINK', key) end
local held = redis.call('HMGET', key, 'r', 'v', 'p', 't', 'l')
local mine = held[1] == reign
local floor = tonumber(held[2] or 0) or 0
local asked = tonumber(held[4] or '')
local function set(...) return type(redis.pcall('HSET', key, ...)) == 'number' end
local function live(ms) if redis.call('PTTL', key) < tonumber(ms) then redis.call('PEXPIRE', key, ms) end end
`

/**
 * Key, oldest age in ms, a new token, life of a lease in ms → ['held', payload, age], or ['lease', token], or nothing where
 * there is no room.
 */
export const readScript = script(`${PRELUDE}
if mine and held[3] and asked then
  local age = now - asked
  if age >= 0 and age <= tonumber(ARGV[1]) then return { 'held', held[3], age } end
end
if mine and held[5] then return { 'lease', held[5] } end
if not set('r', reign, 'l', ARGV[2]) then return {} end
if not mine then redis.call('HDEL', key, 'p', 't') end
live(ARGV[3])
return { 'lease', ARGV[2] }`)

/** Key, token, version, payload, its age in ms, life in ms → whether it was kept; not so where there is no room. */
export const fillScript = script(`${PRELUDE}
if not mine or held[5] ~= ARGV[1] then return 0 end
local version, since = tonumber(ARGV[2]), now - tonumber(ARGV[4])
if floor > version or (floor == version and held[3] and asked and asked > since) then return 0 end
if not set('v', version, 'p', ARGV[3], 't', since) then return 0 end
live(ARGV[5])
return 1`)

/** Key, version or 0, life of the floor in ms. Where there is no room for a floor, all of the key goes. */
export const tellScript = script(`${PRELUDE}
local version = tonumber(ARGV[1])
if version > 0 then
  if floor >= version then return 0 end
  if not set('v', version) then return redis.call('UNLINK', key) end
  live(ARGV[2])
end
redis.call('HDEL', key, 'p', 't', 'l')
return 1`)

function script(text: string): RedisScript {
  const digest = createHash('sha1').update(text).digest('hex')
  return async (client, key, ...parameters) => {
    try {
      return await client.call('evalsha', digest, 1, key, ...parameters)
    } catch (error) {
      if (!(error instanceof Error) || !error.message.startsWith('NOSCRIPT')) throw error
      return client.call('eval', text, 1, key, ...parameters)
    }
  }
}
