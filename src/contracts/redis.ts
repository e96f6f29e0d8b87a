/** What is used of a Redis client, standalone or of a cluster. A command is never sent twice. */
export interface RedisClient {
  /** Sends a command. Rejects at once while there is no connection, and when the answer takes too long. */
  call(command: string, ...parameters: readonly (string | number)[]): Promise<unknown>
  /** Listens to a channel, again after each reconnect. Such a client takes no other commands. */
  subscribe(channel: string): Promise<unknown>
  on(event: 'message', listener: (channel: string, message: string) => void): unknown
  /** `ready`: commands are taken, again after each reconnect. `close`: a connection is lost. */
  on(event: 'ready' | 'close', listener: () => void): unknown
  /** Why a connection could not be made, or was lost. */
  on(event: 'error', listener: (error: unknown) => void): unknown
  /** Only of a cluster: a client for each of its masters. */
  nodes?(role: 'master'): readonly RedisClient[]
  /** `ready` while commands are taken. */
  readonly status: string
  /** Starts to connect, and to reconnect for ever. Rejects when the first attempt fails; the others go on. May take long. */
  connect(): Promise<void>
  /** Closes the connection at once and for good. */
  disconnect(): void
}
