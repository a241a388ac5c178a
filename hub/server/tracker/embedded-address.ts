// The IPv4 addresses that an IPv6 one stands for: gateways and tunnels carry on to them. Pure.
import { BlockList } from 'node:net'

interface Embedding {
  readonly prefix: readonly [network: string, bits: number]
  /** Where the four bytes may be; each is looked at. */
  readonly find: (bytes: readonly number[]) => readonly (readonly number[])[]
}

const EMBEDDINGS: readonly Embedding[] = [
  // Mapped and compatible (RFC 4291, 2.5.5), translated (RFC 2765), and NAT64 (RFC 6052).
  ...['::ffff:0:0', '::', '::ffff:0:0:0', '64:ff9b::'].map((network) => ({
    prefix: [network, 96] as const,
    find: (bytes: readonly number[]) => (isUnspecifiedOrLoopback(bytes) ? [] : [bytes.slice(12)]),
  })),
  { prefix: ['64:ff9b:1::', 48], find: findTranslated },
  // 6to4 (RFC 3056).
  { prefix: ['2002::', 16], find: (bytes) => [bytes.slice(2, 6)] },
  // Teredo (RFC 4380): the client's address is inverted.
  { prefix: ['2001::', 32], find: (bytes) => [bytes.slice(4, 8), bytes.slice(12).map((byte) => byte ^ 0xff)] },
]
const networks = EMBEDDINGS.map(({ prefix: [network, bits], find }) => {
  const list = new BlockList()
  list.addSubnet(network, bits, 'ipv6')
  return { list, find }
})

/** The IPv4 addresses within an IPv6 address without a zone; none for most. */
export function findEmbedded(ipv6: string): readonly string[] {
  const bytes = bytesOf(ipv6)
  return networks
    .filter(({ list }) => list.check(ipv6, 'ipv6'))
    .flatMap(({ find }) => find(bytes))
    .map((each) => each.join('.'))
}

/** `::` and `::1` are addresses of their own among the compatible ones. */
function isUnspecifiedOrLoopback(bytes: readonly number[]): boolean {
  return bytes.slice(0, 15).every((byte) => byte === 0) && (bytes[15] ?? 0) <= 1
}

/** NAT64 within the prefix for local use (RFC 8215): the network chooses how much of it, and so where the address is (RFC 6052, 2.2). What lies after the address is zero. */
function findTranslated(bytes: readonly number[]): readonly (readonly number[])[] {
  const places = [
    [6, 7, 9, 10],
    [7, 9, 10, 11],
    [9, 10, 11, 12],
    [12, 13, 14, 15],
  ]
  const found = places
    .filter(([, , , last = 0]) => last === 15 || [8, ...range(last + 1, 16)].every((index) => bytes[index] === 0))
    .map((place) => place.map((index) => bytes[index] ?? 0))
  // The wrong places hold mostly zeros.
  const likely = found.filter(([first]) => first !== 0)
  return likely.length > 0 ? likely : found
}

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, index) => from + index)
}

function bytesOf(ipv6: string): number[] {
  // URL writes every form of an address in one way, without IPv4 notation.
  const [head = '', tail] = new URL(`http://[${ipv6}]`).hostname.slice(1, -1).split('::')
  const [left, right] = [head, tail ?? ''].map((part) => (part === '' ? [] : part.split(':'))) as [string[], string[]]
  const zeros = Array.from({ length: 8 - left.length - right.length }, () => '0')
  return [...left, ...zeros, ...right].flatMap((group) => {
    const value = Number.parseInt(group, 16)
    return [value >> 8, value & 0xff]
  })
}
