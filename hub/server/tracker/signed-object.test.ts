import { expect, test } from 'vitest'
import { readSignedFacts, splitSignedCommit, splitSignedTag } from './signed-object.ts'

const head = 'tree 1\nauthor A <a> 1 +0000\ncommitter C <c> 1700000000 +0100\n'
const signature = '-----BEGIN SSH SIGNATURE-----\nAA\n-----END SSH SIGNATURE-----\n'
const header = (name: string): string => `${name} ${signature.trimEnd().replaceAll('\n', '\n ')}\n`

test('what was signed is the commit without its signature, byte for byte', () => {
  const tail = Buffer.concat([
    Buffer.from('encoding x\n\nmessage \r\n'),
    Buffer.from([0xff, 0x00]),
    Buffer.from('\ngpgsig no header\n more'),
  ])
  const commit = Buffer.concat([Buffer.from(head + header('gpgsig')), tail])
  expect(splitSignedCommit(commit)).toEqual({ payload: Buffer.concat([Buffer.from(head), tail]), signature })
})

test('two signatures, or none, are none', () => {
  expect(splitSignedCommit(Buffer.from(`${head + header('gpgsig') + header('gpgsig')}\nx`))).toBeUndefined()
  expect(splitSignedCommit(Buffer.from(`${head + header('gpgsig') + header('gpgsig-sha256')}\nx`))).toBeUndefined()
  expect(splitSignedCommit(Buffer.from(`${head}\n${header('gpgsig')}`))).toBeUndefined()
})

test('a signature within a merged tag is not the signature of the commit', () => {
  const merge = `${head}mergetag object 2\n type commit\n tag v1\n \n ${signature.replaceAll('\n', '\n ').trimEnd()}\n\nmerge`
  expect(splitSignedCommit(Buffer.from(merge))).toBeUndefined()
})

test('the last signature of a tag is its own', () => {
  const text = `object 1\ntype commit\ntag v1\ntagger T <t> 1700000001 +0000\n\n${signature}release\n`
  expect(splitSignedTag(Buffer.from(text + signature))).toEqual({ payload: Buffer.from(text), signature })
  expect(splitSignedTag(Buffer.from('object 1\n\nrelease'))).toBeUndefined()
})

test('name and time are those of the headers', () => {
  expect(readSignedFacts(Buffer.from(`${head}\ncommitter X <x> 5 +0000\ntag no`))).toEqual({
    tagName: undefined,
    timeS: 1_700_000_000,
  })
  expect(readSignedFacts(Buffer.from('tag v1\ntagger T <t> 9 +0000\n\ntag v2'))).toEqual({ tagName: 'v1', timeS: 9 })
})

test('what a signature does not cover says neither name nor time', () => {
  // What stands in a header of a signature is taken out before it is verified: anybody may have put it there.
  const forged = 'gpgsig x\n \rtag v9\n \u2028tagger X <x> 5 +0000\n'
  const tag = `object 1\ntype commit\n${forged}tag v1\ntagger T <t> 9 +0000\n\nrelease\n`
  const parts = splitSignedTag(Buffer.from(tag + signature))
  expect(parts?.payload.toString()).not.toContain('gpgsig')
  expect(readSignedFacts(parts?.payload ?? Buffer.from(''))).toEqual({ tagName: 'v1', timeS: 9 })
  expect(
    readSignedFacts(Buffer.from('object 1\rtag v9\ntag v1\rtagger X <x> 5 +0000\ntagger T <t> 9 +0000\n\n')),
  ).toEqual({
    tagName: 'v1\rtagger X <x> 5 +0000',
    timeS: 9,
  })
})
