// The queue of renders.
import { expect, test } from 'vitest'
import { RenderQueue } from './render-queue.ts'

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

test('a newer commit gives up the older one, the same commit is not rendered twice', async () => {
  const queue = new RenderQueue(1)
  const log: string[] = []
  const gates = new Map<string, PromiseWithResolvers<void>>()
  const submit = (id: string, key: string): void =>
    queue.submit({
      id,
      repository: 'shop',
      key,
      work: async (signal) => {
        const gate = Promise.withResolvers<void>()
        gates.set(key, gate)
        signal.addEventListener('abort', () => gate.resolve())
        log.push(`begin ${key}`)
        await gate.promise
        log.push(signal.aborted ? `given up ${key}` : `end ${key}`)
      },
    })
  submit('web', 'c1')
  submit('web', 'c1')
  submit('api', 'a1')
  expect(queue.size).toBe(2)
  submit('web', 'c2')
  submit('web', 'c3')
  await turn()
  gates.get('a1')?.resolve()
  await turn()
  gates.get('c3')?.resolve()
  await turn()
  expect(log).toEqual(['begin c1', 'given up c1', 'begin a1', 'end a1', 'begin c3', 'end c3'])
  expect(queue.size).toBe(0)
})

test('a stop gives up what runs and begins nothing more', async () => {
  const queue = new RenderQueue(1)
  const begun: string[] = []
  for (const name of ['a', 'b']) {
    queue.submit({
      id: name,
      repository: 'shop',
      key: 'k',
      work: async (signal) => {
        begun.push(name)
        await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()))
      },
    })
  }
  await queue.stop()
  expect(begun).toEqual(['a'])
})

test('a repository with many slow renders leaves a place to others, and takes turns with them', async () => {
  const queue = new RenderQueue(3)
  const begun: string[] = []
  const ends = new Map<string, () => void>()
  const submit = (id: string, repository: string): void =>
    queue.submit({
      id,
      repository,
      key: 'k',
      work: async () => {
        begun.push(id)
        await new Promise<void>((resolve) => ends.set(id, resolve))
      },
    })
  for (const name of ['s1', 's2', 's3', 's4']) submit(name, 'slow')
  expect(begun).toEqual(['s1', 's2'])
  submit('a1', 'other')
  submit('a2', 'other')
  submit('b1', 'third')
  expect(begun).toEqual(['s1', 's2', 'a1'])
  ends.get('s1')?.()
  await turn()
  expect(begun.at(-1)).toBe('b1')
  ends.get('a1')?.()
  await turn()
  expect(begun.at(-1)).toBe('a2')
  ends.get('b1')?.()
  await turn()
  expect(begun.at(-1)).toBe('s3')
})
