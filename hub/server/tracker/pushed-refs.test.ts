import { expect, test } from 'vitest'
import { LOOK_AGAIN_MS, PushedRefs } from './pushed-refs.ts'
import type { RefListing } from './ref-listing.ts'

const [a, b, c, tag] = ['a', 'b', 'c', 'd'].map((letter) => letter.repeat(40)) as [string, string, string, string]
const main = 'refs/heads/main'
const isFollowed = (name: string): boolean => name === main || name === 'HEAD' || name.startsWith('refs/tags/')

function listing(refs: Record<string, string | { oid: string; commit: string }>, headTarget?: string): RefListing {
  const entries = Object.entries(refs).map(
    ([name, target]) => [name, typeof target === 'string' ? { oid: target, commit: target } : target] as const,
  )
  return { refs: new Map(entries), headTarget }
}

function after(pushed: PushedRefs, ...listings: readonly RefListing[]): number | undefined {
  for (const each of listings) pushed.settle(each, isFollowed)
  return pushed.nextLookMs()
}

test('a push is waited for until it is served, with growing pauses, and not for ever', () => {
  const pushed = new PushedRefs()
  expect(after(pushed, listing({ [main]: a }))).toBeUndefined()
  pushed.add([{ name: main, oid: b }])
  for (const waitMs of LOOK_AGAIN_MS) expect(after(pushed, listing({ [main]: a }))).toBe(waitMs)
  expect(after(pushed, listing({ [main]: a }))).toBeUndefined()
  pushed.add([{ name: main, oid: b }])
  expect(after(pushed, listing({ [main]: a }))).toBe(LOOK_AGAIN_MS[0])
  expect(after(pushed, listing({ [main]: b }))).toBeUndefined()
})

test('a push that another one has overtaken is not waited for', () => {
  const pushed = new PushedRefs()
  pushed.settle(listing({ [main]: a }), isFollowed)
  pushed.add([{ name: main, oid: b }])
  expect(after(pushed, listing({ [main]: c }))).toBeUndefined()
})

test('a push that is announced before the first poll is waited for', () => {
  const pushed = new PushedRefs()
  pushed.add([{ name: main, oid: b }])
  expect(after(pushed, listing({ [main]: a }))).toBe(LOOK_AGAIN_MS[0])
  expect(after(pushed, listing({ [main]: b }))).toBeUndefined()
})

test('a deletion, an annotated tag and the default branch are waited for', () => {
  const pushed = new PushedRefs()
  pushed.settle(listing({ HEAD: a, 'refs/tags/v0': a }, 'refs/heads/trunk'), isFollowed)
  pushed.add([
    { name: 'refs/heads/trunk', oid: b },
    { name: 'refs/tags/v0', oid: undefined },
    { name: 'refs/tags/v1', oid: tag },
  ])
  expect(after(pushed, listing({ HEAD: b, 'refs/tags/v0': a }, 'refs/heads/trunk'))).toBe(LOOK_AGAIN_MS[0])
  expect(after(pushed, listing({ HEAD: b }, 'refs/heads/trunk'))).toBe(LOOK_AGAIN_MS[1])
  expect(
    after(pushed, listing({ HEAD: b, 'refs/tags/v1': { oid: tag, commit: b } }, 'refs/heads/trunk')),
  ).toBeUndefined()
})

test('refs that nobody follows are not waited for', () => {
  const pushed = new PushedRefs()
  pushed.settle(listing({ [main]: a }), isFollowed)
  pushed.add([{ name: 'refs/heads/other', oid: b }])
  expect(after(pushed, listing({ [main]: a }))).toBeUndefined()
})
