// Whether an OCI artifact is signed by one of some keys, as cosign signs with --key: signatures beside the artifact at the tag
// sha256-<digest>.sig (github.com/sigstore/cosign, specs/SIGNATURE_SPEC.md), and Sigstore bundles that refer to it
// (docs.sigstore.dev/about/bundle). Certificates and transparency logs are not looked at: the keys are what is trusted.
import { type KeyObject, verify } from 'node:crypto'
import { AppError } from '@fairlead/shared/errors'
import type { OciDescriptor, OciRegistry, OciRepository, OciRequestOptions } from './oci-registry.ts'

/** Most signatures that are looked at: anybody who may push adds some. */
const MAX_SIGNATURES = 50
const SIGNATURE_MAX_BYTES = 256 * 1024
const SIMPLE_SIGNING = 'application/vnd.dev.cosign.simplesigning.v1+json'
const SIGNATURE_ANNOTATION = 'dev.cosignproject.cosign/signature'
const BUNDLE = /^application\/vnd\.dev\.sigstore\.bundle\b/
const IN_TOTO = 'application/vnd.in-toto+json'
/** Of a statement that says nothing but that this was signed; others attest things. */
const SIGN_PREDICATE = 'https://sigstore.dev/cosign/sign/v1'
const HASHES = ['sha256', 'sha384', 'sha512'] as const

/** Resolves when one of the keys signed the artifact with that digest. Rejects with SignatureRejected, or as the registry's requests do. */
export async function checkCosignSignature(
  registry: OciRegistry,
  {
    repository,
    digest,
    keys,
  }: { readonly repository: OciRepository; readonly digest: string; readonly keys: readonly KeyObject[] },
  options: OciRequestOptions,
): Promise<void> {
  let seen = 0
  for await (const signature of readSignatures(registry, repository, digest, options)) {
    seen++
    if (isBy(keys, signature) && signature.digests.includes(digest)) return
  }
  const what =
    seen === 0
      ? 'is not signed'
      : `has ${seen} ${seen === 1 ? 'signature' : 'signatures'}, none of which is by a key of spec.verify`
  throw new AppError('SignatureRejected', `the artifact sha256:${digest.slice(0, 12)} ${what}`)
}

interface Signature {
  readonly signed: Buffer
  readonly signature: Buffer
  /** SHA-256 of what is signed for, in hexadecimal. */
  readonly digests: readonly string[]
}

async function* readSignatures(
  registry: OciRegistry,
  repository: OciRepository,
  digest: string,
  options: OciRequestOptions,
): AsyncGenerator<Signature> {
  const read = (blob: OciDescriptor): Promise<Buffer> =>
    registry.readBlob(repository, blob, SIGNATURE_MAX_BYTES, options)
  const beside = await registry.findManifest(repository, `sha256-${digest}.sig`, options)
  for (const layer of (beside?.content.layers ?? []).slice(0, MAX_SIGNATURES)) {
    const signature = layer.annotations[SIGNATURE_ANNOTATION]
    if (layer.mediaType !== SIMPLE_SIGNING || signature === undefined) continue
    const signed = await read(layer)
    yield { signed, signature: Buffer.from(signature, 'base64'), digests: digestsOfSimpleSigning(signed) }
  }
  const referrers = await registry.listReferrers(repository, digest, options)
  const bundles = referrers.filter(({ artifactType }) => BUNDLE.test(artifactType) || artifactType === '')
  for (const referrer of bundles.slice(0, MAX_SIGNATURES)) {
    const manifest = await registry.findManifest(repository, referrer.digest, options)
    for (const layer of (manifest?.content.layers ?? []).slice(0, 1)) {
      if (BUNDLE.test(layer.mediaType)) yield* signaturesOfBundle(await read(layer))
    }
  }
}

/** The digests that a payload of "simple signing" is for. */
function digestsOfSimpleSigning(payload: Buffer): string[] {
  const { critical } = parseJson(payload) as {
    critical?: { type?: unknown; image?: { 'docker-manifest-digest'?: unknown } }
  }
  const digest = critical?.image?.['docker-manifest-digest']
  const isSignature = critical?.type === 'cosign container image signature' && typeof digest === 'string'
  return isSignature && digest.startsWith('sha256:') ? [digest.slice('sha256:'.length)] : []
}

/** The signatures of a bundle with a DSSE envelope (github.com/secure-systems-lab/dsse). */
function signaturesOfBundle(bundle: Buffer): Signature[] {
  const { dsseEnvelope: envelope } = parseJson(bundle) as {
    dsseEnvelope?: { payload?: unknown; payloadType?: unknown; signatures?: unknown }
  }
  if (typeof envelope?.payload !== 'string' || envelope.payloadType !== IN_TOTO) return []
  const payload = Buffer.from(envelope.payload, 'base64')
  const head = `DSSEv1 ${Buffer.byteLength(IN_TOTO)} ${IN_TOTO} ${payload.length} `
  const signed = Buffer.concat([Buffer.from(head), payload])
  const statement = parseJson(payload) as { predicateType?: unknown; subject?: unknown }
  if (statement.predicateType !== SIGN_PREDICATE || !Array.isArray(statement.subject)) return []
  const digests = statement.subject.map((each: { digest?: { sha256?: unknown } } | null) =>
    String(each?.digest?.sha256),
  )
  const signatures: unknown[] = Array.isArray(envelope.signatures) ? envelope.signatures.slice(0, MAX_SIGNATURES) : []
  return signatures.map((each) => {
    const { sig } = (each ?? {}) as { sig?: unknown }
    return { signed, signature: Buffer.from(String(sig), 'base64'), digests }
  })
}

function isBy(keys: readonly KeyObject[], { signed, signature }: Signature): boolean {
  return keys.some((key) => {
    if (key.asymmetricKeyType === 'ed25519') return verify(null, signed, key, signature)
    return HASHES.some((hash) => verify(hash, signed, key, signature))
  })
}

/** Nothing for what is no JSON object. */
function parseJson(bytes: Buffer): object {
  try {
    const value: unknown = JSON.parse(bytes.toString('utf8'))
    return typeof value === 'object' && value !== null ? value : {}
  } catch {
    return {}
  }
}
