import { parseDocuments } from '@fairlead/server/definitions/documents'
import { AppError } from '@fairlead/shared/errors'
import { ProblemsError } from '@fairlead/shared/grpc-status'
import { describe, expect, test } from 'vitest'
import { locateProblems } from './locate-problems.ts'

const text = `# the shop
apiVersion: fairlead.dev/v1alpha1
kind: Repository
metadata: {name: shop}
spec:
  url: https://git.example.com/shop.git
---
---
# the web
apiVersion: fairlead.dev/v1alpha1
kind: Application
metadata:
  name: web
spec:
  source:
    repository: shop
  placement:
    names:
      - eu
      - "us"
...
`

describe('definitions in YAML', () => {
  const [shop, web] = parseDocuments(text, 'shop.yaml')

  test('know their kind, name, file and line; empty documents are left out', () => {
    expect(parseDocuments(text, 'shop.yaml')).toHaveLength(2)
    expect(shop).toMatchObject({ kind: 'Repository', name: 'shop', file: 'shop.yaml', line: 2 })
    expect(web).toMatchObject({ kind: 'Application', name: 'web', file: 'shop.yaml', line: 10 })
  })

  test.each([
    ['spec.source.repository', 16],
    ['spec.placement.names[1]', 20],
    ['spec.source.path', 15],
    ['metadata.name', 13],
    ['nothing.like.it', 10],
    ['', 10],
  ])('know that %s is on line %i', (field, line) => expect(web?.lineOf(field)).toBe(line))

  test('are lines apart also in JSON and in flow style', () => {
    const [document] = parseDocuments(
      '{"kind": "Application",\n "metadata": {"name": "a"},\n "spec": {"source":\n {"path": 1}}}',
      'a.json',
    )
    expect(document).toMatchObject({ kind: 'Application', name: 'a', line: 1 })
    expect(document?.lineOf('spec.source.path')).toBe(4)
  })

  test('the problems of the hub get the line of their field', () => {
    const problem = {
      file: 'shop.yaml',
      line: 10,
      object: 'Application/web',
      field: 'spec.placement.names[0]',
      message: 'is no name',
    }
    const located = locateProblems(new ProblemsError('InvalidArgument', [problem]), web ? [web] : [])
    expect((located as Error).message).toBe('shop.yaml:19: Application/web: spec.placement.names[0]: is no name')
  })

  test.each([
    ['a: 1\n---\nb: [\n', 4, /^not valid YAML: /],
    ['a: 1\nb: 2\na: 3\n', 3, /duplicated mapping key/],
    ['a: 1\n---\n- b\n', 3, /must be a mapping/],
    [`a: &a [1]\nb: [${'*a,'.repeat(1_100)}]`, 2, /alias/],
  ])('that are wrong are refused with their line: %j', (wrong, line, message) => {
    const error = catchError(() => parseDocuments(wrong, 'x.yaml'))
    expect(error).toMatchObject({ code: 'InvalidArgument', context: { file: 'x.yaml', line } })
    expect(error.message).toMatch(message)
  })
})

function catchError(work: () => unknown): AppError {
  try {
    work()
  } catch (error) {
    if (error instanceof AppError) return error
  }
  throw new Error('no AppError was thrown')
}
