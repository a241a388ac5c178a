// The public keys that OCI artifacts may be signed by, as cosign writes them. Pure.
import { createPublicKey, type KeyObject } from 'node:crypto'
import { AppError } from '@fairlead/shared/errors'

const PEM = /-----BEGIN PUBLIC KEY-----[\s\S]*?-----END PUBLIC KEY-----/g

/** The public keys in a text of PEM blocks. Throws InvalidArgument with what is wrong when there is none, or one that signs nothing. */
export function parseCosignKeys(pem: string): KeyObject[] {
  if (/PRIVATE KEY-----/.test(pem))
    throw new AppError('InvalidArgument', 'holds a private key: give cosign.pub, and replace the key')
  const blocks = pem.match(PEM) ?? []
  if (blocks.length === 0) throw new AppError('InvalidArgument', 'holds no public key in PEM, as cosign.pub does')
  return blocks.map((block) => {
    let key: KeyObject
    try {
      key = createPublicKey(block)
    } catch (cause) {
      throw new AppError('InvalidArgument', 'holds a public key that cannot be read', { cause })
    }
    if (['ec', 'rsa', 'ed25519'].includes(key.asymmetricKeyType ?? '')) return key
    throw new AppError('InvalidArgument', `holds a key of type ${key.asymmetricKeyType}, which cosign does not use`)
  })
}
