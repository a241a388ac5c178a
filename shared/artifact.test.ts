import { randomBytes } from 'node:crypto'
import { create } from '@bufbuild/protobuf'
import { ArtifactReferenceSchema, ArtifactSchema } from '@fairlead/proto/slice'
import { describe, expect, test } from 'vitest'
import { artifactDigest, openArtifact, sealArtifact } from './artifact.ts'
import { ARTIFACT_CHUNK_BYTES } from './subjects.ts'

const artifactOf = (...texts: string[]) =>
  create(ArtifactSchema, {
    manifests: texts.map((text, index) => ({ json: Buffer.from(text), source: { file: 'a.yaml', line: index + 1 } })),
  })
// Random text does not compress, so that the artifact has several chunks.
const large = artifactOf(randomBytes(ARTIFACT_CHUNK_BYTES * 2).toString('base64'))

const ordered = (sealed: ReturnType<typeof sealArtifact>): Uint8Array[] =>
  sealed.reference.chunks.map((digest) => sealed.chunks.get(digest) ?? new Uint8Array())

describe('an artifact', () => {
  test.each([
    ['small', artifactOf('{"kind":"ConfigMap"}')],
    ['empty', artifactOf()],
    ['of several chunks', large],
  ])('%s comes out as it went in', (_name, artifact) => {
    const sealed = sealArtifact(artifact)
    expect(openArtifact(sealed.reference, ordered(sealed))).toEqual(artifact)
    expect(sealed.reference.digest).toBe(artifactDigest(artifact))
    expect(sealed.reference.objects).toBe(artifact.manifests.length)
  })

  test('has the same digest for the same content but never the same key or ciphertext', () => {
    const [one, two] = [sealArtifact(artifactOf('{}')), sealArtifact(artifactOf('{}'))]
    expect(one.reference.digest).toBe(two.reference.digest)
    expect(one.reference.key).not.toEqual(two.reference.key)
    expect(one.reference.chunks).not.toEqual(two.reference.chunks)
  })

  test('does not show its content without the key', () => {
    const sealed = sealArtifact(artifactOf('password'))
    expect(Buffer.concat(ordered(sealed)).includes('password')).toBe(false)
  })
})

describe('an artifact is refused', () => {
  const sealed = sealArtifact(large)
  const chunks = ordered(sealed)
  const reference = sealed.reference
  test.each([
    ['when a chunk is missing', reference, chunks.slice(1)],
    ['when chunks are swapped', reference, [...chunks].reverse()],
    [
      'when a byte differs',
      reference,
      [Buffer.concat([Buffer.from([1]), (chunks[0] ?? new Uint8Array()).subarray(1)]), ...chunks.slice(1)],
    ],
    ['when the key is another', create(ArtifactReferenceSchema, { ...reference, key: randomBytes(32) }), chunks],
    ['when the digest is another', create(ArtifactReferenceSchema, { ...reference, digest: '0'.repeat(64) }), chunks],
    [
      'when it inflates to more than it says',
      create(ArtifactReferenceSchema, { ...reference, sizeBytes: 10n }),
      chunks,
    ],
    [
      'when it says it is larger than the limit',
      create(ArtifactReferenceSchema, { ...reference, sizeBytes: 1n << 40n }),
      chunks,
    ],
  ])('%s', (_name, broken, parts) => {
    expect(() => openArtifact(broken, parts)).toThrow(expect.objectContaining({ code: 'ArtifactCorrupt' }))
  })
})
