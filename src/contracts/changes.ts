import type { Tenant } from './tenant.ts'

/** What changed in a registry after a position. */
export interface RegistryChanges {
  /** As they are now, each once, oldest change first; at most 500. One whose row is gone is not told. */
  readonly tenants: readonly Tenant[]
  /** Where the next read begins. Opaque. */
  readonly position: string
  /** Whether there is more to read after `position`. */
  readonly more: boolean
  /**
   * True when the registry is another one than the position is of, or older, as a restored backup is, or may have lost changes:
   * nothing read from it before holds.
   */
  readonly reset: boolean
  /**
   * Another one wherever `reset` is true for a position that another incarnation gave; two that are the same lost nothing to each other.
   * Optional: without it, processes that have not heard of a reset yet can share in Redis what they read before it.
   */
  readonly incarnation?: string
}

/** Who hears a {@link ChangeChannel}. */
export interface ChangeListener {
  /** A tenant is being changed, or was. A hint that anybody may have sent: what is true is read from the registry. */
  changed(id: string): void
  /** `healthy` is another one than before. */
  healthChanged(): void
}

/** Carries hints about changed tenants between processes. May lose some, and then it does not stay healthy. */
export interface ChangeChannel {
  /** Listens until it is closed, and connects again by itself. Waits for nothing and never throws. */
  open(listener: ChangeListener): void
  /** Whether a message of our own came back a moment ago: what others send comes too. */
  readonly healthy: boolean
  /**
   * Whether nothing that is written goes untold while it is healthy, because the registry itself tells it. Where writers do, one
   * that cannot reach the channel is not heard.
   */
  readonly lossless: boolean
  /** Tells the other processes that a tenant is being changed. Waits for nothing and never throws. */
  announce(id: string): void
  close(): void
}

/** What a connection of a channel tells. */
export interface ChannelEvents {
  changed(id: string): void
  /** The beat of this number came back. */
  heard(beat: number): void
  /** The connection is of no use any more. */
  lost(): void
}

/** One connection of a channel, which hears what is sent from now on. Its methods never throw. */
export interface ChannelConnection {
  /** Sends this number to ourselves. */
  beat(number: number): void
  announce(id: string): void
  close(): void
}

/** Connects a channel; rejects when that fails or takes longer than some seconds. */
export type ConnectChannel = (events: ChannelEvents) => Promise<ChannelConnection>
