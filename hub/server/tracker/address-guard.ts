// Which addresses Git servers may have. A definition, or a Git server by a redirect or its DNS, must not make the hub talk
// to what only the hub's own machine can reach: cloud metadata on link-local addresses, services on loopback.
import { lookup } from 'node:dns'
import { BlockList, isIP, type LookupFunction } from 'node:net'
import { AppError } from '@fairlead/shared/errors'
import { findEmbedded } from './embedded-address.ts'

const never = new BlockList()
for (const [network, prefix, family] of [
  ['169.254.0.0', 16, 'ipv4'],
  ['0.0.0.0', 8, 'ipv4'],
  ['224.0.0.0', 4, 'ipv4'],
  ['255.255.255.255', 32, 'ipv4'],
  ['fe80::', 10, 'ipv6'],
  ['ff00::', 8, 'ipv6'],
  ['::', 128, 'ipv6'],
  // Metadata at addresses that are not link-local: EC2 and Google over IPv6, Alibaba, Azure's host, Oracle.
  ['fd00:ec2::254', 128, 'ipv6'],
  ['fd20:ce::254', 128, 'ipv6'],
  ['100.100.100.200', 32, 'ipv4'],
  ['168.63.129.16', 32, 'ipv4'],
  ['192.0.0.192', 32, 'ipv4'],
] as const) {
  never.addSubnet(network, prefix, family)
}
const loopback = new BlockList()
loopback.addSubnet('127.0.0.0', 8, 'ipv4')
loopback.addAddress('::1', 'ipv6')

/** Why an address is not connected to; undefined when it may be. `host` is what the definition names. */
export function findAddressProblem(host: string, address: string): string | undefined {
  const plain = address.replace(/^\[|\]$/g, '').replace(/%.*$/, '')
  if (isIn(never, plain)) return `${host} has the address ${plain}, which no Git server may have`
  if (isIn(loopback, plain) && !namesLoopback(host)) {
    return `${host} has the loopback address ${plain}; write it as such if that is meant`
  }
  return undefined
}

/** Throws RepositoryUnreachable for a host that is an address which is not connected to; names are looked at when they are resolved. */
export function checkLiteralHost(hostname: string): void {
  const literal = hostname.replace(/^\[|\]$/g, '')
  const problem = isIP(literal) === 0 ? undefined : findAddressProblem(literal, literal)
  if (problem !== undefined) throw new AppError('RepositoryUnreachable', problem)
}

/** Resolves a name as Node does, for the connection that is made right then; fails for addresses that are not connected to. */
export const guardedLookup: LookupFunction = (hostname, options, callback) => {
  lookup(hostname, { ...options, all: true }, (error, addresses) => {
    const problems = addresses?.map(({ address }) => findAddressProblem(hostname, address)) ?? []
    const allowed = addresses?.filter((_, index) => problems[index] === undefined) ?? []
    const [first] = allowed
    const problem = problems.find((each) => each !== undefined)
    if (error) callback(error, '')
    else if (first === undefined)
      callback(new AppError('RepositoryUnreachable', problem ?? `${hostname} has no address`), '')
    else if (options.all) callback(null, allowed)
    else callback(null, first.address, first.family)
  })
}

/** The addresses of a host that may be connected to, for programs that connect by themselves. Rejects with RepositoryUnreachable when there is none. */
export async function resolveGuarded(host: string): Promise<readonly string[]> {
  checkLiteralHost(host)
  if (isIP(host) !== 0) return [host]
  const { promise, resolve, reject } = Promise.withResolvers<readonly string[]>()
  guardedLookup(host, { all: true }, (error, addresses) => {
    if (error) reject(error instanceof AppError ? error : unresolved(host, error))
    else resolve(Array.isArray(addresses) ? addresses.map(({ address }) => address) : [addresses])
  })
  return await promise
}

function unresolved(host: string, cause: Error): AppError {
  return new AppError('RepositoryUnreachable', `${host} cannot be reached: ${cause.message}`, { cause })
}

function namesLoopback(host: string): boolean {
  const plain = host.toLowerCase().replace(/^\[|\]$/g, '')
  if (isIP(plain) === 0) return plain === 'localhost' || plain.endsWith('.localhost')
  return isIn(loopback, plain)
}

/** True for an address in the list, and for one that leads to such an IPv4 address. */
function isIn(list: BlockList, address: string): boolean {
  if (isIP(address) !== 6) return list.check(address, 'ipv4')
  return list.check(address, 'ipv6') || findEmbedded(address).some((ipv4) => list.check(ipv4, 'ipv4'))
}
