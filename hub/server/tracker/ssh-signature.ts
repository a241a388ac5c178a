// Signatures by SSH keys (OpenSSH, PROTOCOL.sshsig and PROTOCOL.u2f), verified by node:crypto. Pure.
import { createHash, createPublicKey, type KeyObject, verify } from 'node:crypto'

/** A signature that holds. */
export interface SshSignature {
  /** The public key as it travels, in base64. */
  readonly key: string
  /** As ssh-keygen shows it: SHA256:... */
  readonly fingerprint: string
  /** False when it was made by a security key that nobody touched. */
  readonly wasTouched: boolean
}

interface PublicKey {
  readonly type: string
  readonly key: KeyObject
  /** Of ECDSA: bytes of a coordinate. */
  readonly coordinateBytes: number
  /** Of security keys: what the key is for, normally `ssh:`. */
  readonly application: Buffer | undefined
}

const NAMESPACE = 'git'
const RSA_MIN_BYTES = 256
const MAX_ARMOUR_BYTES = 16_384
const CURVES: Readonly<Record<string, readonly [curve: string, coordinateBytes: number, hash: string]>> = {
  'ecdsa-sha2-nistp256': ['P-256', 32, 'sha256'],
  'ecdsa-sha2-nistp384': ['P-384', 48, 'sha384'],
  'ecdsa-sha2-nistp521': ['P-521', 66, 'sha512'],
  'sk-ecdsa-sha2-nistp256@openssh.com': ['P-256', 32, 'sha256'],
}
const USER_PRESENT = 1

/** Reads SSH's length-prefixed values. Throws when they are cut short. */
class Reader {
  readonly #bytes: Buffer
  #position = 0

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  take(length: number): Buffer {
    const end = this.#position + length
    if (end > this.#bytes.length) throw new Error('it is cut short')
    const part = this.#bytes.subarray(this.#position, end)
    this.#position = end
    return part
  }

  uint32(): number {
    return this.take(4).readUInt32BE(0)
  }

  blob(): Buffer {
    return this.take(this.uint32())
  }

  text(): string {
    return this.blob().toString('latin1')
  }

  end(): void {
    if (this.#position !== this.#bytes.length) throw new Error('something follows it')
  }
}

/** The key that signed `payload` for Git. Throws an Error that says what is wrong with the signature. */
export function verifySshSignature(armour: string, payload: Buffer): SshSignature {
  const reader = new Reader(decodeArmour(armour))
  if (reader.take(6).toString('latin1') !== 'SSHSIG' || reader.uint32() !== 1)
    throw new Error('it is no SSH signature of version 1')
  const keyBlob = reader.blob()
  const [namespace, reserved, hash, signature] = [reader.text(), reader.blob(), reader.text(), reader.blob()]
  reader.end()
  if (namespace !== NAMESPACE) throw new Error('it was made for something else than Git')
  if (hash !== 'sha256' && hash !== 'sha512') throw new Error('its hash is not supported')
  const digest = createHash(hash).update(payload).digest()
  const signed = Buffer.concat([
    Buffer.from('SSHSIG'),
    ...[Buffer.from(namespace), reserved, Buffer.from(hash), digest].map(withLength),
  ])
  const { holds, wasTouched } = verifySigned(parsePublicKey(keyBlob), signature, signed)
  if (!holds) throw new Error('it does not hold')
  return { key: keyBlob.toString('base64'), fingerprint: fingerprintOf(keyBlob), wasTouched }
}

/** As ssh-keygen shows it. */
export function fingerprintOf(key: Buffer): string {
  return `SHA256:${createHash('sha256').update(key).digest('base64').replace(/=+$/, '')}`
}

function decodeArmour(armour: string): Buffer {
  if (armour.length > MAX_ARMOUR_BYTES) throw new Error('it is too long')
  const base64 = /^-----BEGIN SSH SIGNATURE-----\n([A-Za-z0-9+/=\s]+)-----END SSH SIGNATURE-----\s*$/.exec(armour)?.[1]
  if (base64 === undefined) throw new Error('its armour is broken')
  return Buffer.from(base64, 'base64')
}

function verifySigned(key: PublicKey, signature: Buffer, message: Buffer): { holds: boolean; wasTouched: boolean } {
  const reader = new Reader(signature)
  const type = reader.text()
  const value = reader.blob()
  let [signed, wasTouched] = [message, true]
  if (key.application !== undefined) {
    const flags = reader.take(1)
    const counter = reader.take(4)
    signed = Buffer.concat([sha256(key.application), flags, counter, sha256(message)])
    wasTouched = ((flags[0] ?? 0) & USER_PRESENT) !== 0
  }
  reader.end()
  return { holds: holds(key, { type, value }, signed), wasTouched }
}

function holds(key: PublicKey, { type, value }: { type: string; value: Buffer }, signed: Buffer): boolean {
  if (key.type === 'ssh-rsa') {
    const hash = { 'rsa-sha2-256': 'sha256', 'rsa-sha2-512': 'sha512' }[type]
    if (hash === undefined) throw new Error('its algorithm is not supported')
    return verify(hash, signed, key.key, value)
  }
  if (type !== key.type) throw new Error('it does not fit its key')
  const curve = CURVES[type]
  if (curve === undefined) return verify(null, signed, key.key, value)
  const numbers = new Reader(value)
  const pair = Buffer.concat([numbers.blob(), numbers.blob()].map((number) => padNumber(number, key.coordinateBytes)))
  numbers.end()
  return verify(curve[2], signed, { key: key.key, dsaEncoding: 'ieee-p1363' }, pair)
}

function parsePublicKey(blob: Buffer): PublicKey {
  const reader = new Reader(blob)
  const type = reader.text()
  const isHardware = type.startsWith('sk-')
  if (type === 'ssh-ed25519' || type === 'sk-ssh-ed25519@openssh.com') {
    const jwk = { kty: 'OKP', crv: 'Ed25519', x: reader.blob().toString('base64url') }
    return finish(reader, { type, jwk, isHardware })
  }
  if (type === 'ssh-rsa') {
    const [exponent, modulus] = [stripZeros(reader.blob()), stripZeros(reader.blob())]
    if (modulus.length < RSA_MIN_BYTES) throw new Error('its RSA key is shorter than 2048 bits')
    const jwk = { kty: 'RSA', e: exponent.toString('base64url'), n: modulus.toString('base64url') }
    return finish(reader, { type, jwk, isHardware })
  }
  const [crv, coordinateBytes] = CURVES[type] ?? []
  if (crv === undefined || coordinateBytes === undefined) throw new Error('the type of its key is not supported')
  reader.blob()
  const point = reader.blob()
  if (point[0] !== 4 || point.length !== 1 + 2 * coordinateBytes) throw new Error('its key is broken')
  const [x, y] = [point.subarray(1, 1 + coordinateBytes), point.subarray(1 + coordinateBytes)]
  const jwk = { kty: 'EC', crv, x: x.toString('base64url'), y: y.toString('base64url') }
  return finish(reader, { type, jwk, isHardware, coordinateBytes })
}

function finish(
  reader: Reader,
  {
    type,
    jwk,
    isHardware,
    coordinateBytes = 0,
  }: {
    type: string
    jwk: Readonly<Record<string, string>>
    isHardware: boolean
    coordinateBytes?: number
  },
): PublicKey {
  const application = isHardware ? reader.blob() : undefined
  reader.end()
  return { type, key: createPublicKey({ key: jwk, format: 'jwk' }), coordinateBytes, application }
}

function withLength(bytes: Buffer): Buffer {
  const length = Buffer.alloc(4)
  length.writeUInt32BE(bytes.length)
  return Buffer.concat([length, bytes])
}

function padNumber(number: Buffer, sizeBytes: number): Buffer {
  const stripped = stripZeros(number)
  if (stripped.length > sizeBytes) throw new Error('its numbers are too large')
  return Buffer.concat([Buffer.alloc(sizeBytes - stripped.length), stripped])
}

function stripZeros(number: Buffer): Buffer {
  const first = number.findIndex((byte) => byte !== 0)
  return first < 0 ? Buffer.alloc(0) : number.subarray(first)
}

function sha256(bytes: Buffer): Buffer {
  return createHash('sha256').update(bytes).digest()
}
