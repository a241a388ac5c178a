// Challenges for renewing: random, timed and authenticated, so that the hub keeps no list of them. A proof over a challenge also
// covers the cluster's id and key and so serves one cluster only.
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'

/** How long a challenge can be answered, in milliseconds. */
export const CHALLENGE_TTL_MS = 60_000

const NONCE_BYTES = 16
const BODY_BYTES = NONCE_BYTES + 8

/** Makes and checks challenges. */
export interface Challenges {
  /** A fresh challenge. */
  issue(nowMs: number): Uint8Array
  /** True for a challenge that this process issued within the last minute. */
  isValid(challenge: Uint8Array, nowMs: number): boolean
}

/** Challenges under a key of this process: after a restart an agent asks for another. */
export function createChallenges(key: Uint8Array = randomBytes(32)): Challenges {
  const authenticate = (body: Uint8Array): Buffer => createHmac('sha256', key).update(body).digest()
  return {
    issue: (nowMs) => {
      const body = Buffer.alloc(BODY_BYTES)
      randomBytes(NONCE_BYTES).copy(body)
      body.writeBigUInt64BE(BigInt(Math.floor(nowMs)), NONCE_BYTES)
      return new Uint8Array(Buffer.concat([body, authenticate(body)]))
    },
    isValid: (challenge, nowMs) => {
      if (challenge.length !== BODY_BYTES + 32) return false
      const body = Buffer.from(challenge.subarray(0, BODY_BYTES))
      if (!timingSafeEqual(authenticate(body), challenge.subarray(BODY_BYTES))) return false
      const ageMs = nowMs - Number(body.readBigUInt64BE(NONCE_BYTES))
      return ageMs >= 0 && ageMs <= CHALLENGE_TTL_MS
    },
  }
}
