// Signatures by OpenPGP keys. Loaded only where a Repository allows such keys: the library takes 17 MB.
import { createMessage, type Key, type PublicKey, readKeys, readSignature, verify } from 'openpgp'
import type { SignedParts } from './signed-object.ts'

const MAX_ARMOUR_BYTES = 65_536
const BLOCK = /-----BEGIN PGP PUBLIC KEY BLOCK-----[\s\S]*?-----END PGP PUBLIC KEY BLOCK-----/g

/** Why no signature is by one of the keys; undefined when one is. Weak hashes and short keys do not count, nor does what a key that was revoked or had expired then signed. Never rejects. */
export async function findGpgProblem(
  { payload, signature: armour }: SignedParts,
  armouredKeys: string,
): Promise<string | undefined> {
  if (armour.length > MAX_ARMOUR_BYTES) return 'has an OpenPGP signature that is too long'
  try {
    const verificationKeys = await readPublicKeys(armouredKeys)
    const signature = await readSignature({ armoredSignature: armour })
    const message = await createMessage({ binary: new Uint8Array(payload) })
    const { signatures } = await verify({ message, signature, verificationKeys })
    const problems: string[] = []
    for (const { keyID, verified } of signatures) {
      const problem = await verified.then(() => undefined, messageOf)
      if (problem === undefined) return undefined
      const isKnown = verificationKeys.some((key: Key) => key.getKeys(keyID).length > 0)
      const id = keyID.toHex().toUpperCase()
      problems.push(
        isKnown
          ? `is signed by OpenPGP key ${id}, but ${problem}`
          : `is signed by OpenPGP key ${id}, which is none of the allowed keys`,
      )
    }
    return problems[0] ?? 'has an OpenPGP signature without a signer'
  } catch (error) {
    return `has an OpenPGP signature that cannot be read: ${messageOf(error)}`
  }
}

async function readPublicKeys(armoured: string): Promise<PublicKey[]> {
  const blocks = armoured.match(BLOCK) ?? []
  const keys: PublicKey[] = []
  for (const block of blocks) keys.push(...((await readKeys({ armoredKeys: block })) as PublicKey[]))
  return keys
}

function messageOf(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).replace(/\p{Cc}+/gu, ' ').slice(0, 200)
}
