// Artifacts: one application's rendered manifests, addressed by content, compressed, encrypted and cut into chunks.
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import { gunzipSync, gzipSync } from 'node:zlib'
import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { type Artifact, type ArtifactReference, ArtifactReferenceSchema, ArtifactSchema } from '@fairlead/proto/slice'
import { sha256Hex } from './digest.ts'
import { AppError } from './errors.ts'
import { ARTIFACT_CHUNK_BYTES } from './subjects.ts'

/** Largest plain content of an artifact, in bytes. Bounds what a hostile or broken artifact can make an agent inflate. */
export const ARTIFACT_MAX_BYTES = 128 * 1024 * 1024

const TAG_BYTES = 16

/** An artifact ready to be stored. */
export interface SealedArtifact {
  readonly reference: ArtifactReference
  /** Encrypted chunks by the SHA-256 that names them. */
  readonly chunks: ReadonlyMap<string, Uint8Array>
}

/** The digest of an artifact's content, equal for equal manifests in equal order. */
export function artifactDigest(artifact: Artifact): string {
  return sha256Hex(toBinary(ArtifactSchema, artifact))
}

/** Compresses, encrypts with a fresh random key and cuts. Throws LimitExceeded when the content is larger than ARTIFACT_MAX_BYTES. */
export function sealArtifact(artifact: Artifact): SealedArtifact {
  const content = toBinary(ArtifactSchema, artifact)
  if (content.length > ARTIFACT_MAX_BYTES) {
    throw new AppError(
      'LimitExceeded',
      `the rendered manifests are ${content.length} bytes; the limit is ${ARTIFACT_MAX_BYTES}`,
    )
  }
  const key = randomBytes(32)
  const compressed = gzipSync(content, { level: 6 })
  const chunks = new Map<string, Uint8Array>()
  const digests: string[] = []
  for (let index = 0; index * ARTIFACT_CHUNK_BYTES < compressed.length; index++) {
    const part = compressed.subarray(index * ARTIFACT_CHUNK_BYTES, (index + 1) * ARTIFACT_CHUNK_BYTES)
    // The key is used for this artifact alone, so the chunk's number is a nonce that never repeats under it.
    const cipher = createCipheriv('aes-256-gcm', key, chunkNonce(index))
    const sealed = Buffer.concat([cipher.update(part), cipher.final(), cipher.getAuthTag()])
    const digest = sha256Hex(sealed)
    digests.push(digest)
    chunks.set(digest, sealed)
  }
  const reference = create(ArtifactReferenceSchema, {
    digest: sha256Hex(content),
    key,
    chunks: digests,
    sizeBytes: BigInt(content.length),
    objects: artifact.manifests.length,
  })
  return { reference, chunks }
}

/** Opens the chunks of an artifact, in order. Throws ArtifactCorrupt when any byte is not what the reference names. */
export function openArtifact(reference: ArtifactReference, chunks: readonly Uint8Array[]): Artifact {
  if (chunks.length !== reference.chunks.length)
    throw corrupt(reference, `${chunks.length} of ${reference.chunks.length} chunks`)
  if (reference.sizeBytes > BigInt(ARTIFACT_MAX_BYTES)) throw corrupt(reference, 'larger than the limit')
  try {
    const compressed = Buffer.concat(chunks.map((chunk, index) => openChunk(reference, chunk, index)))
    const content = gunzipSync(compressed, { maxOutputLength: Math.max(1, Number(reference.sizeBytes)) })
    if (sha256Hex(content) !== reference.digest) throw new Error('the content has another digest')
    return fromBinary(ArtifactSchema, content)
  } catch (cause) {
    throw corrupt(reference, cause instanceof Error ? cause.message : String(cause), cause)
  }
}

function openChunk(reference: ArtifactReference, chunk: Uint8Array, index: number): Buffer {
  if (sha256Hex(chunk) !== reference.chunks[index]) throw new Error(`chunk ${index} has another digest`)
  const decipher = createDecipheriv('aes-256-gcm', reference.key, chunkNonce(index))
  decipher.setAuthTag(chunk.subarray(-TAG_BYTES))
  return Buffer.concat([decipher.update(chunk.subarray(0, -TAG_BYTES)), decipher.final()])
}

function chunkNonce(index: number): Buffer {
  const nonce = Buffer.alloc(12)
  nonce.writeUInt32BE(index, 8)
  return nonce
}

function corrupt(reference: ArtifactReference, why: string, cause?: unknown): AppError {
  return new AppError('ArtifactCorrupt', `artifact ${reference.digest.slice(0, 12)}: ${why}`, { cause })
}
