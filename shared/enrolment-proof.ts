// The bytes that an agent signs with its nkey to join and to renew; the domain keeps one from passing as the other.

/** What JoinRequest.proof signs. */
export function joinProofBytes(token: string, publicKey: string): Uint8Array {
  return Buffer.from(`fairlead.join.v1\0${token}\0${publicKey}`)
}

/** What RenewRequest.proof signs. */
export function renewProofBytes(clusterId: string, publicKey: string, challenge: Uint8Array): Uint8Array {
  return Buffer.concat([Buffer.from(`fairlead.renew.v1\0${clusterId}\0${publicKey}\0`), challenge])
}
