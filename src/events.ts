import { channel } from 'node:diagnostics_channel'

/** What each event carries. The one list of events; docs/events.md explains them. */
export interface TenancyEvents {
  /** A tenant was found in a cache. */
  'fastify-tenancy:cache:hit': { readonly tier: CacheTier; readonly id: string }
  /** A cache knew that nobody has the identifier. */
  'fastify-tenancy:cache:negative-hit': { readonly tier: CacheTier; readonly identifier: string }
  /** A cache did not know: L1 is asked for an identifier, L2 for an id. */
  'fastify-tenancy:cache:miss': { readonly tier: CacheTier; readonly identifier?: string; readonly id?: string }
  /** An entry that had expired was served while it is read anew, because the channel for changes is healthy. */
  'fastify-tenancy:cache:stale': { readonly tier: CacheTier; readonly id: string }
  /** A tenant was read for L1, from L2 or the registry. `found` is false when there is none; a read that failed is not told. */
  'fastify-tenancy:store:load': { readonly milliseconds: number; readonly found: boolean }
  /** A cache was made to forget: one tenant, or all when there is no id. */
  'fastify-tenancy:cache:invalidation': { readonly tier: CacheTier; readonly id?: string }
}

/** Where a tenant is remembered: in this process, or in Redis. */
export type CacheTier = 'l1' | 'l2'

/** Subscribe with `diagnostics_channel.subscribe(name, listener)` of Node. */
export type TenancyEventName = keyof TenancyEvents

/** A channel of Node whose messages have a type. What is only built for listeners is built after `hasSubscribers`. */
export interface TenancyEvent<TMessage> {
  readonly hasSubscribers: boolean
  publish(message: TMessage): void
}

function event<TName extends TenancyEventName>(name: TName): TenancyEvent<TenancyEvents[TName]> {
  return channel(name)
}

/** Looked up once: who publishes asks `hasSubscribers`, which costs nothing while nobody listens. */
export const events = Object.freeze({
  hit: event('fastify-tenancy:cache:hit'),
  negativeHit: event('fastify-tenancy:cache:negative-hit'),
  miss: event('fastify-tenancy:cache:miss'),
  stale: event('fastify-tenancy:cache:stale'),
  load: event('fastify-tenancy:store:load'),
  invalidation: event('fastify-tenancy:cache:invalidation'),
})
