// Whether a commit, or the tag that names it, is signed by a key that the Repository allows. For worker threads: what is
// verified comes from strangers, and OpenPGP takes its time.
import { AppError } from '@fairlead/shared/errors'
import type { AllowedSigner } from '../allowed-signers.ts'
import { findCommit, type GitObject, type ObjectSource } from './git-object.ts'
import { readSignedFacts, type SignedParts, splitSignedCommit, splitSignedTag } from './signed-object.ts'
import { verifySshSignature } from './ssh-signature.ts'

/** Keys that may sign. */
export interface SigningKeys {
  readonly signers: readonly AllowedSigner[]
  /** Armoured OpenPGP public keys; empty for none. */
  readonly gpgKeys: string
}

/** What to check. */
export interface SignatureQuestion {
  /** Id of the commit, or of the annotated tag. */
  readonly oid: string
  /** Full name of the ref that it was found at, for example refs/tags/v1.2.3; empty for a commit id. */
  readonly name: string
  readonly keys: SigningKeys
}

/** A clock that runs ahead may be ahead by this much, in seconds. */
const FUTURE_S = 86_400
const TAGS = 'refs/tags/'
/** Largest commit or tag that is looked at; Git's own have some thousand bytes. */
const SIGNED_MAX_BYTES = 256 * 1024

/** Resolves when the commit is signed by one of the keys; for a tag it is enough that the tag is. Rejects with SignatureRejected, or as findCommit throws. */
export async function checkSignature(source: ObjectSource, { oid, name, keys }: SignatureQuestion): Promise<void> {
  const commit = findCommit(source, oid)
  const object = commit && findSigned(source, commit.oid)
  if (commit === undefined || object === undefined) throw rejected(`commit ${oid.slice(0, 12)} is not there`)
  const tagProblem = await findTagProblem(source, { oid, name, keys })
  if (tagProblem === undefined) return
  const problem = await findProblem(splitSignedCommit(object.data), keys)
  if (problem === undefined) return
  const ofTag = tagProblem === '' ? '' : ` and ${tagProblem}`
  throw rejected(`commit ${commit.oid.slice(0, 12)} ${problem}${ofTag}`)
}

function findSigned(source: ObjectSource, oid: string): GitObject | undefined {
  try {
    return source.find(oid, SIGNED_MAX_BYTES)
  } catch (error) {
    if (!(error instanceof AppError) || error.code !== 'LimitExceeded') throw error
    throw rejected(`${oid.slice(0, 12)} is too large for its signature to be looked at`)
  }
}

/** Undefined when the tag is signed; empty when there is no annotated tag. */
async function findTagProblem(
  source: ObjectSource,
  { oid, name, keys }: SignatureQuestion,
): Promise<string | undefined> {
  const tag = findSigned(source, oid)
  if (tag?.type !== 'tag' || !name.startsWith(TAGS)) return ''
  const parts = splitSignedTag(tag.data)
  const problem = await findProblem(parts, keys)
  if (parts === undefined || problem !== undefined) return `its tag ${problem}`
  const { tagName } = readSignedFacts(parts.payload)
  // An old signed tag under another name would take everybody back.
  return `${TAGS}${tagName}` === name
    ? undefined
    : `its tag was signed as ${tagName?.slice(0, 80)}, not as ${name.slice(TAGS.length)}`
}

/** Why an object is not signed by one of the keys. */
async function findProblem(
  parts: SignedParts | undefined,
  { signers, gpgKeys }: SigningKeys,
): Promise<string | undefined> {
  if (parts === undefined) return 'is not signed'
  const { timeS } = readSignedFacts(parts.payload)
  if (timeS > Date.now() / 1_000 + FUTURE_S) return 'is dated in the future'
  if (parts.signature.startsWith('-----BEGIN SSH SIGNATURE-----')) return findSshProblem(parts, signers, timeS)
  if (gpgKeys === '') return 'is signed by OpenPGP, and no OpenPGP key is allowed'
  const { findGpgProblem } = await import('./gpg-signature.ts')
  return await findGpgProblem(parts, gpgKeys)
}

function findSshProblem(
  { payload, signature }: SignedParts,
  signers: readonly AllowedSigner[],
  timeS: number,
): string | undefined {
  try {
    const { key, fingerprint, wasTouched } = verifySshSignature(signature, payload)
    const ofKey = signers.filter((signer) => signer.key === key)
    if (ofKey.length === 0) return `is signed by ${fingerprint}, which is none of the allowed signers`
    const inTime = ofKey.filter(
      ({ validAfterS = 0, validBeforeS = Infinity }) => timeS >= validAfterS && timeS < validBeforeS,
    )
    if (inTime.length === 0) return `is signed by ${fingerprint} outside of the time in which that key counts`
    if (!wasTouched && !inTime.some(({ noTouchRequired }) => noTouchRequired))
      return `is signed by ${fingerprint} without a touch`
    return undefined
  } catch (error) {
    return `has an SSH signature that does not count: ${error instanceof Error ? error.message : String(error)}`
  }
}

function rejected(message: string): AppError {
  return new AppError('SignatureRejected', message)
}
