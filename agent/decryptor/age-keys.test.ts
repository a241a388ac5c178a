// Which of a cluster's keys opens what was encrypted for several.
import { armor, Encrypter, generateIdentity, identityToRecipient } from 'age-encryption'
import { expect, test } from 'vitest'
import { AgeKeys } from './age-keys.ts'
import type { SealedKey } from './sops.ts'

const dataKey = new Uint8Array(32).fill(7)

async function seal(identity: string, key = dataKey): Promise<SealedKey> {
  const recipient = await identityToRecipient(identity)
  const encrypter = new Encrypter()
  encrypter.addRecipient(recipient)
  return { recipient, enc: armor.encode(await encrypter.encrypt(key)) }
}

/** As somebody leaves it who edits the block by hand. */
const damaged = ({ recipient }: SealedKey): SealedKey => ({ recipient, enc: 'not armored' })

test('one entry that cannot be opened does not keep a good one of another key from being used', async () => {
  const [first, second] = [await generateIdentity(), await generateIdentity()]
  const keys = await AgeKeys.of([first, second], 'here')
  expect(await keys.open([damaged(await seal(first)), await seal(second)])).toEqual(dataKey)
  // Of a data key of another length as well.
  expect(await keys.open([await seal(first, dataKey.subarray(0, 16)), await seal(second)])).toEqual(dataKey)
})

test('where no entry can be opened, the message names the recipient', async () => {
  const [first, second] = [await generateIdentity(), await generateIdentity()]
  const keys = await AgeKeys.of([first], 'here')
  const sealed = damaged(await seal(first))
  await expect(keys.open([sealed, await seal(second)])).rejects.toMatchObject({
    code: 'DecryptionFailed',
    message: `its data key for ${sealed.recipient} cannot be opened: it was altered`,
  })
  await expect(keys.open([await seal(second)])).rejects.toThrow('none of the 1 keys in here is one of these')
})
