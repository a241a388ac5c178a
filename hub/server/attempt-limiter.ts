// Bounds how often wrong tokens may be tried, for one peer and for all together, without touching the database.

/** How many wrong tokens are let through. */
export interface AttemptLimits {
  /** Wrong tokens of one peer within the window. */
  readonly perPeer: number
  /** Wrong tokens of all peers within the window. */
  readonly total: number
  /** Length of the window in milliseconds. */
  readonly windowMs: number
}

/** For join tokens. */
export const JOIN_LIMITS: AttemptLimits = { perPeer: 10, total: 100, windowMs: 60_000 }
/** For bearer tokens. The administrator must not be locked out by others: all together only bound the memory. */
export const BEARER_LIMITS: AttemptLimits = { perPeer: 20, total: 100_000, windowMs: 60_000 }

/** Counts wrong tokens in windows of fixed length. */
export class AttemptLimiter {
  readonly #limits: AttemptLimits
  readonly #wrong = new Map<string, number>()
  #windowEndMs = 0
  #total = 0

  constructor(limits: AttemptLimits) {
    this.#limits = limits
  }

  /** Milliseconds until this peer may try again; 0 when it may now. */
  waitMs(peer: string, nowMs: number): number {
    this.#roll(nowMs)
    const isOpen = this.#total < this.#limits.total && (this.#wrong.get(peerHost(peer)) ?? 0) < this.#limits.perPeer
    return isOpen ? 0 : this.#windowEndMs - nowMs
  }

  /** Counts a wrong token. */
  countWrong(peer: string, nowMs: number): void {
    this.#roll(nowMs)
    const host = peerHost(peer)
    this.#wrong.set(host, (this.#wrong.get(host) ?? 0) + 1)
    this.#total++
  }

  #roll(nowMs: number): void {
    // A clock that was set back must not keep the door shut for long.
    if (nowMs < this.#windowEndMs && nowMs >= this.#windowEndMs - this.#limits.windowMs) return
    this.#wrong.clear()
    this.#total = 0
    this.#windowEndMs = nowMs + this.#limits.windowMs
  }
}

/** The host of gRPC's peer address (`ipv4:10.0.0.1:5000`, `[::1]:5000`) without the port; of an IPv6 address its /64, because one machine has them all. */
export function peerHost(peer: string): string {
  const address = peer.replace(/^ipv[46]:/, '').replace(/:\d+$/, '')
  const bare = address.replace(/^\[|\]$/g, '')
  if (!bare.includes(':') || bare.includes('.')) return bare
  return expandIpv6(bare).slice(0, 4).join(':')
}

function expandIpv6(address: string): string[] {
  const [head = '', tail] = address.split('::')
  const left = head === '' ? [] : head.split(':')
  const right = tail === undefined || tail === '' ? [] : tail.split(':')
  return [...left, ...Array<string>(Math.max(0, 8 - left.length - right.length)).fill('0'), ...right]
}
