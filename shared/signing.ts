// Signing of documents with Ed25519. What is signed is the bytes that are sent; nothing is encoded again to verify.
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, sign, verify } from 'node:crypto'
import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { SignedDocumentSchema } from '@fairlead/proto/slice'
import { sha256Hex } from './digest.ts'
import { AppError } from './errors.ts'

/** What a signature is for: a signed command can never pass as a slice. */
export type SigningDomain = 'fairlead.slice.v1' | 'fairlead.command.v1'

/** A signing key of the hub. */
export interface SigningKeyPair {
  /** First 16 hexadecimal digits of the SHA-256 of the public key. */
  readonly id: string
  readonly privateKey: KeyObject
  /** Raw 32 bytes. */
  readonly publicKey: Uint8Array
}

/** Public keys by id. */
export type TrustedKeys = ReadonlyMap<string, Uint8Array>

const SPKI_PREFIX = Buffer.from('302a300506032b6570032100', 'hex')

/** Makes a new key. */
export function generateSigningKey(): SigningKeyPair {
  return fromPrivateKey(generateKeyPairSync('ed25519').privateKey)
}

/** Reads a key from PKCS #8 PEM. Throws when it is not an Ed25519 key. */
export function parseSigningKey(pem: string): SigningKeyPair {
  const privateKey = createPrivateKey(pem)
  if (privateKey.asymmetricKeyType !== 'ed25519')
    throw new AppError('InvalidArgument', 'the signing key is not an Ed25519 key')
  return fromPrivateKey(privateKey)
}

/** PKCS #8 PEM of a key. */
export function formatSigningKey(key: SigningKeyPair): string {
  return key.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
}

function fromPrivateKey(privateKey: KeyObject): SigningKeyPair {
  const publicKey = new Uint8Array(createPublicKey(privateKey).export({ type: 'spki', format: 'der' }).subarray(-32))
  return { id: sha256Hex(publicKey).slice(0, 16), privateKey, publicKey }
}

/** An encoded SignedDocument around `payload`. */
export function signDocument(domain: SigningDomain, payload: Uint8Array, key: SigningKeyPair): Uint8Array {
  const signature = sign(null, signedBytes(domain, payload), key.privateKey)
  return toBinary(SignedDocumentSchema, create(SignedDocumentSchema, { payload, signature, keyId: key.id }))
}

/** The payload of an encoded SignedDocument. Throws SliceRefused when it cannot be decoded, names an unknown key, or the signature does not hold. */
export function verifyDocument(domain: SigningDomain, encoded: Uint8Array, trusted: TrustedKeys): Uint8Array {
  const document = decodeDocument(encoded)
  const publicKey = trusted.get(document.keyId)
  if (!publicKey)
    throw new AppError('SliceRefused', `signed with an unknown key ${JSON.stringify(document.keyId.slice(0, 32))}`)
  const key = createPublicKey({ key: Buffer.concat([SPKI_PREFIX, publicKey]), format: 'der', type: 'spki' })
  if (!verify(null, signedBytes(domain, document.payload), key, document.signature)) {
    throw new AppError('SliceRefused', 'the signature does not hold')
  }
  return document.payload
}

function decodeDocument(encoded: Uint8Array) {
  try {
    return fromBinary(SignedDocumentSchema, encoded)
  } catch (cause) {
    throw new AppError('SliceRefused', 'not a signed document', { cause })
  }
}

function signedBytes(domain: SigningDomain, payload: Uint8Array): Uint8Array {
  return Buffer.concat([Buffer.from(`${domain}\0`), payload])
}
