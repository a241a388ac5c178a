// Encoding and checking of slices and commands: what an agent obeys and what it refuses.
import { fromBinary, toBinary } from '@bufbuild/protobuf'
import { type Command, CommandSchema, type Slice, SliceSchema } from '@fairlead/proto/slice'
import { AppError } from './errors.ts'
import { type SigningKeyPair, signDocument, type TrustedKeys, verifyDocument } from './signing.ts'

/** Why a document was refused; the names of the Refusals counters. */
export type RefusalReason = 'signature' | 'cluster' | 'generation' | 'malformed'

/** A refused document with the reason to count. */
export class RefusedError extends AppError {
  readonly reason: RefusalReason
  constructor(reason: RefusalReason, message: string, cause?: unknown) {
    super('SliceRefused', message, { cause })
    this.reason = reason
  }
}

/** What a document is checked against. */
export interface SliceExpectation {
  /** This cluster's id. */
  readonly clusterId: string
  /** Generation of the last slice that was obeyed; 0n when there is none. */
  readonly lastGeneration: bigint
  /** The hub's public keys. */
  readonly trusted: TrustedKeys
}

/** The next generation: the greater of the last plus one and the time in milliseconds, so that it never runs back even after a restore. */
export function nextGeneration(last: bigint, nowMs: number): bigint {
  const now = BigInt(Math.floor(nowMs))
  return last + 1n > now ? last + 1n : now
}

/** Encodes and signs a slice. */
export function encodeSlice(slice: Slice, key: SigningKeyPair): Uint8Array {
  return signDocument('fairlead.slice.v1', toBinary(SliceSchema, slice), key)
}

/** Encodes and signs a command. */
export function encodeCommand(command: Command, key: SigningKeyPair): Uint8Array {
  return signDocument('fairlead.command.v1', toBinary(CommandSchema, command), key)
}

/** The slice in `encoded`. Throws RefusedError unless it is signed by the hub, for this cluster and newer than the last. */
export function decodeSlice(encoded: Uint8Array, expected: SliceExpectation): Slice {
  const slice = decode(() => fromBinary(SliceSchema, verified('fairlead.slice.v1', encoded, expected.trusted)))
  if (slice.clusterId !== expected.clusterId) throw new RefusedError('cluster', 'the slice is for another cluster')
  if (slice.generation <= expected.lastGeneration) {
    throw new RefusedError('generation', `generation ${slice.generation} is not newer than ${expected.lastGeneration}`)
  }
  return slice
}

/** The command in `encoded`. Throws RefusedError unless it is signed by the hub and for this cluster. */
export function decodeCommand(encoded: Uint8Array, expected: Omit<SliceExpectation, 'lastGeneration'>): Command {
  const command = decode(() => fromBinary(CommandSchema, verified('fairlead.command.v1', encoded, expected.trusted)))
  if (command.clusterId !== expected.clusterId) throw new RefusedError('cluster', 'the command is for another cluster')
  return command
}

function verified(
  domain: 'fairlead.slice.v1' | 'fairlead.command.v1',
  encoded: Uint8Array,
  trusted: TrustedKeys,
): Uint8Array {
  try {
    return verifyDocument(domain, encoded, trusted)
  } catch (error) {
    throw new RefusedError('signature', error instanceof Error ? error.message : String(error), error)
  }
}

function decode<T>(read: () => T): T {
  try {
    return read()
  } catch (error) {
    if (error instanceof RefusedError) throw error
    throw new RefusedError('malformed', 'the document cannot be decoded', error)
  }
}
