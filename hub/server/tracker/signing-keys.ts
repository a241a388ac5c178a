// The keys that a Repository allows to sign, out of its definition and the files that it names.
import { createHash } from 'node:crypto'
import type { RepositoryVerification } from '@fairlead/proto/definitions'
import { AppError, toAppError } from '@fairlead/shared/errors'
import { parseAllowedSigners } from '../allowed-signers.ts'
import { readSecretText, type SecretSources } from '../secret-source.ts'
import type { SignatureQuestion, SigningKeys } from './signature-check.ts'

/** Read at each poll, so that keys can be added and taken away. Rejects with SignatureRejected when they cannot be read: then nothing is taken to be signed. */
export async function readSigningKeys(verify: RepositoryVerification, sources: SecretSources): Promise<SigningKeys> {
  const read = async (inline: string, from: string): Promise<string> =>
    from === '' ? inline : `${inline}\n${await readSecretText(from, sources)}`
  try {
    return {
      signers: parseAllowedSigners(await read(verify.allowedSigners, verify.allowedSignersFrom)),
      gpgKeys: (await read(verify.gpgKeys, verify.gpgKeysFrom)).trim(),
    }
  } catch (error) {
    const { message } = toAppError(error)
    throw new AppError('SignatureRejected', `the keys of spec.verify cannot be read: ${message}`, { cause: error })
  }
}

/** Equal for questions whose answer is the same. */
export function hashSignatureQuestion(question: SignatureQuestion): string {
  return createHash('sha256').update(JSON.stringify(question)).digest('base64')
}
