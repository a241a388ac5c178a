import { load } from 'js-yaml'
import { expect, test } from 'vitest'
import { yamlSafe } from './yaml-safe.ts'

const texts = ['\u007f', 'a\u0080\u0085b', 'a\u2028b\u2029c', '\ufeffa', '\uffff', 'é ° 🎉 שלום “quoted”', 'plain']

test.each(texts)('%j means the same to YAML as to JSON', (text) => {
  const object = { [text]: [text] }
  for (const body of [object, JSON.stringify(object), Buffer.from(JSON.stringify(object))]) {
    const safe = Buffer.from(yamlSafe(body) as Uint8Array).toString()
    expect(JSON.parse(safe)).toEqual(object)
    expect(load(safe)).toEqual(object)
    expect(safe).not.toMatch(/[\u007f-\u009f\u2028\u2029\ufeff\uffff]/)
  }
})

test('what holds nothing of the kind is not copied', () => {
  const body = Buffer.from('{"a":"plain ascii ü 🎉"}')
  expect(yamlSafe(body)).toBe(body)
})
