import type { ChangeChannel, ChangeListener, ChannelConnection, ConnectChannel } from '../contracts/changes.ts'

/** Milliseconds between two beats. One that is not back by the next means: not healthy. */
const BEAT_MS = 200
/** Beats in a row without an answer after which the connection is given up. */
const MAX_MISSES = 10
/** Milliseconds that a connection may take to be made. */
const CONNECT_MS = 5000
/** Milliseconds before a new connection, at most twice that: many processes must not come at once. */
const PAUSE_MS = 500

/**
 * A channel over any connection that can send to itself: it is healthy while beats come back, which also tells a
 * connection that is open and carries nothing, as behind a pooler that does not know LISTEN.
 */
export function createChangeChannel(connect: ConnectChannel, lossless: boolean): ChangeChannel {
  let listener: ChangeListener | undefined
  let connection: ChannelConnection | undefined
  /** Which attempt to connect counts: what an older one still tells is not heard. */
  let attempt = 0
  let sent = 0
  let back = 0
  let misses = 0
  let healthy = false
  let beating: NodeJS.Timeout | undefined
  let waiting: NodeJS.Timeout | undefined

  function set(now: boolean): void {
    if (healthy === now) return
    healthy = now
    listener?.healthChanged()
  }

  function begin(): void {
    const mine = ++attempt
    const current = () => mine === attempt
    const lost = () => {
      if (current()) restart()
    }
    const events = {
      changed(id: string) {
        if (current()) listener?.changed(id)
      },
      heard(beat: number) {
        if (!current() || beat !== sent) return
        back = beat
        misses = 0
        set(true)
      },
      lost,
    }
    waiting = setTimeout(lost, CONNECT_MS).unref()
    connect(events).then((made) => use(made, current()), lost)
  }

  function use(made: ChannelConnection, isCurrent: boolean): void {
    if (!isCurrent) {
      made.close()
      return
    }
    clearTimeout(waiting)
    connection = made
    misses = 0
    connection.beat(++sent)
  }

  function drop(): void {
    attempt++
    clearTimeout(waiting)
    connection?.close()
    connection = undefined
    set(false)
  }

  function restart(): void {
    drop()
    waiting = setTimeout(begin, PAUSE_MS * (1 + Math.random())).unref()
  }

  function tick(): void {
    if (connection === undefined) return
    if (back < sent) {
      set(false)
      if (++misses >= MAX_MISSES) return restart()
    }
    connection.beat(++sent)
  }

  return Object.freeze({
    open(heardBy: ChangeListener) {
      listener = heardBy
      begin()
      beating = setInterval(tick, BEAT_MS).unref()
    },
    lossless,
    get healthy() {
      return healthy
    },
    announce: (id: string) => connection?.announce(id),
    close() {
      clearInterval(beating)
      listener = undefined
      drop()
    },
  })
}
