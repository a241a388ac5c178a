// Whether a delivery was sent by somebody who knows the secret, in the ways of the Git hosts. Pure; every comparison takes
// a time that says nothing of where two values differ.
import { createHash, createHmac, timingSafeEqual } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'

/** A delivery as it came. */
export interface RawDelivery {
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
}

/** A signature with a time in it is good for this long, in seconds, in both directions. */
const TOLERANCE_S = 300
/** HMAC-SHA256 of the body in hexadecimal: GitHub, Bitbucket; Gitea and Forgejo without `sha256=`. */
const HMAC_HEADERS = ['x-hub-signature-256', 'x-hub-signature', 'x-gitea-signature', 'x-forgejo-signature'] as const

/** True when one of the delivery's signatures or tokens proves the secret. `nowMs` is since the epoch. SHA-1 is not taken. */
export function isFromHolder(secret: string, { headers, body }: RawDelivery, nowMs: number): boolean {
  // An empty secret would be proven by a header that is not there.
  if (secret === '') return false
  // All of them, whichever is right, so that the time says nothing.
  const proofs = [
    hasHmac(secret, headers, body),
    hasToken(secret, headers),
    hasStandardSignature(secret, { headers, body }, nowMs),
  ]
  return proofs.includes(true)
}

function hasHmac(secret: string, headers: IncomingHttpHeaders, body: Buffer): boolean {
  const expected = createHmac('sha256', secret).update(body).digest()
  return HMAC_HEADERS.map((name) => {
    const hex = /^(?:sha256=)?([0-9a-f]{64})$/.exec(textOf(headers, name))?.[1]
    return hex !== undefined && timingSafeEqual(Buffer.from(hex, 'hex'), expected)
  }).includes(true)
}

/** GitLab sends the secret itself; so may whoever else can set a header. */
function hasToken(secret: string, headers: IncomingHttpHeaders): boolean {
  const bearer = /^Bearer (.+)$/i.exec(textOf(headers, 'authorization'))?.[1] ?? ''
  const expected = sha256(secret)
  return [textOf(headers, 'x-gitlab-token'), bearer]
    .map((token) => timingSafeEqual(sha256(token), expected))
    .includes(true)
}

/** github.com/standard-webhooks/standard-webhooks: an HMAC over id, time and body. */
function hasStandardSignature(secret: string, { headers, body }: RawDelivery, nowMs: number): boolean {
  const [id, time] = [textOf(headers, 'webhook-id'), textOf(headers, 'webhook-timestamp')]
  const key = secret.startsWith('whsec_') ? Buffer.from(secret.slice('whsec_'.length), 'base64') : secret
  const expected = createHmac('sha256', key).update(`${id}.${time}.`).update(body).digest()
  const isRecent = /^\d{1,12}$/.test(time) && Math.abs(nowMs / 1_000 - Number(time)) <= TOLERANCE_S
  return textOf(headers, 'webhook-signature')
    .split(' ')
    .slice(0, 10)
    .map((entry) => {
      const given = Buffer.from(/^v1,([A-Za-z0-9+/]{43}=)$/.exec(entry)?.[1] ?? '', 'base64')
      return given.length === expected.length && timingSafeEqual(given, expected) && isRecent && id !== ''
    })
    .includes(true)
}

/** A header that came once; empty otherwise. */
export function textOf(headers: IncomingHttpHeaders, name: string): string {
  const value = headers[name]
  return typeof value === 'string' ? value : ''
}

function sha256(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}
