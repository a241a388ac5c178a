// Finds the hub's CA by its pin: the chain is looked at without trusting or sending anything, and the one certificate
// that the pin names becomes the only root of the real connection.
import { X509Certificate } from 'node:crypto'
import { isIP } from 'node:net'
import { connect, type DetailedPeerCertificate } from 'node:tls'
import { caPin } from '@fairlead/shared/digest'
import { AppError } from '@fairlead/shared/errors'

const PROBE_TIMEOUT_MS = 10_000
const MAX_CHAIN = 8

/** Host and port of `host:port` or `[ipv6]:port`. */
export function splitAddress(address: string): { host: string; port: number } {
  const colon = address.lastIndexOf(':')
  return { host: address.slice(0, colon).replace(/^\[|\]$/g, ''), port: Number(address.slice(colon + 1)) }
}

/**
 * PEM of the CA that `pin` names, as the server at `address` presents it. Throws CaPinMismatch when no certificate of
 * the chain has the pin, when it did not sign the server's certificate, or when that is for another host; Unavailable
 * when the server cannot be reached. Gives up after 10 s or when the signal aborts.
 */
export async function fetchPinnedCa(address: string, pin: string, signal?: AbortSignal): Promise<string> {
  const { host, port } = splitAddress(address)
  return selectPinnedCa(await readChain(host, port, signal), { host, address, pin })
}

/** The decision of fetchPinnedCa on a chain, leaf first. */
export function selectPinnedCa(
  chain: readonly X509Certificate[],
  { host, address, pin }: { host: string; address: string; pin: string },
): string {
  const refuse = (why: string): AppError => new AppError('CaPinMismatch', `${address} ${why}`)
  const index = chain.findIndex((certificate) => caPin(certificate.toString()) === pin)
  const ca = chain[index]
  const leaf = chain[0]
  if (!ca || !leaf) {
    const last = chain.at(-1)
    const shown = last ? caPin(last.toString()) : 'no certificate'
    throw refuse(`presents a CA with pin ${shown}, but the pin that was given is ${pin}; is it another hub's?`)
  }
  if (!ca.ca) throw refuse(`presents a certificate with pin ${pin}, but it is not a CA`)
  for (let position = 0; position < index; position++) {
    const [certificate, issuer] = [chain[position], chain[position + 1]]
    if (!certificate || !issuer?.ca || !certificate.checkIssued(issuer) || !certificate.verify(issuer.publicKey)) {
      throw refuse(`presents the CA with pin ${pin}, but that CA did not sign the server's certificate`)
    }
  }
  const isForHost = isIP(host) === 0 ? leaf.checkHost(host) : leaf.checkIP(host)
  if (isForHost === undefined) {
    throw refuse(
      `has a certificate of the pinned CA, but not for ${host} (it is for ${leaf.subjectAltName ?? 'nobody'})`,
    )
  }
  return ca.toString()
}

/** The certificates that the server presents, leaf first. Nothing is sent but the handshake. */
async function readChain(host: string, port: number, signal?: AbortSignal): Promise<X509Certificate[]> {
  signal?.throwIfAborted()
  const { promise, resolve, reject } = Promise.withResolvers<X509Certificate[]>()
  // Not verified here on purpose: the pin decides, and the connection that carries the token verifies everything.
  const name = isIP(host) === 0 ? { servername: host } : {}
  const socket = connect({ host, port, ...name, rejectUnauthorized: false, ALPNProtocols: ['h2'] }, () => {
    resolve(listChain(socket.getPeerCertificate(true)))
  })
  const abort = (): void => void socket.destroy(new AppError('Aborted', 'the agent is stopping'))
  signal?.addEventListener('abort', abort, { once: true })
  socket.setTimeout(PROBE_TIMEOUT_MS, () => socket.destroy(new Error('no answer')))
  socket.once('error', (cause) => reject(unreachable(host, port, cause)))
  socket.once('close', () => reject(unreachable(host, port, new Error('connection closed'))))
  try {
    return await promise
  } finally {
    signal?.removeEventListener('abort', abort)
    socket.destroy()
  }
}

function unreachable(host: string, port: number, cause: Error): AppError {
  if (cause instanceof AppError) return cause
  return new AppError('Unavailable', `the hub at ${host}:${port} cannot be reached: ${cause.message}`, { cause })
}

function listChain(leaf: DetailedPeerCertificate): X509Certificate[] {
  const chain: X509Certificate[] = []
  let next: DetailedPeerCertificate | undefined = leaf
  while (next?.raw && chain.length < MAX_CHAIN) {
    chain.push(new X509Certificate(next.raw))
    // A self-signed certificate names itself as its issuer.
    next = next.issuerCertificate === next ? undefined : next.issuerCertificate
  }
  return chain
}
