// What tells a manifest that SOPS encrypted from others (getsops.io). The hub passes it on as it is; agents decrypt it.

const METADATA_KEYS = ['mac', 'lastmodified', 'version', 'age', 'pgp', 'kms', 'key_groups']

/** True for a document with SOPS's own block: a mapping `sops` at its top. */
export function isEncrypted(document: object): boolean {
  const { sops } = document as { sops?: unknown }
  return typeof sops === 'object' && sops !== null && METADATA_KEYS.some((key) => Object.hasOwn(sops, key))
}

/** True for a text that SOPS put in place of a value. */
export function isEncryptedValue(text: string): boolean {
  return text.startsWith('ENC[AES256_GCM,')
}
