import * as grpc from '@grpc/grpc-js'
import { describe, expect, test } from 'vitest'
import { AppError, ERROR_CODES, type ErrorCode } from './errors.ts'
import { formatErrorDetail, ProblemsError, readGrpcError, toGrpcStatus } from './grpc-status.ts'

const asServiceError = (error: unknown): grpc.ServiceError =>
  Object.assign(new Error(), toGrpcStatus(error)) as unknown as grpc.ServiceError

describe('an error over gRPC', () => {
  test('keeps its code out of the closed list', () => {
    for (const code of Object.keys(ERROR_CODES) as ErrorCode[]) {
      const status = asServiceError(new AppError(code, 'why'))
      expect(readGrpcError(status).code).toBe(code)
      expect(status.code).not.toBe(grpc.status.UNKNOWN)
    }
  })

  test('of a defect tells the caller nothing of the inside', () => {
    const status = toGrpcStatus(new TypeError('secret'))
    expect(status.code).toBe(grpc.status.INTERNAL)
    expect(JSON.stringify(status)).not.toContain('secret')
  })

  test('with several problems tells each with its place', () => {
    const problems = [
      {
        file: 'a.yaml',
        line: 3,
        object: 'Application/web',
        field: 'spec.source.path',
        message: 'must not be absolute',
      },
      { object: 'Repository/shop', message: 'no such thing — Ümläut' },
    ]
    const status = asServiceError(new ProblemsError('InvalidArgument', problems))
    expect(status.code).toBe(grpc.status.INVALID_ARGUMENT)
    expect(status.details).toBe(
      'a.yaml:3: Application/web: spec.source.path: must not be absolute\nRepository/shop: no such thing — Ümläut',
    )
    expect(readGrpcError(status)).toEqual({ code: 'InvalidArgument', problems })
  })

  test('stays within what HTTP/2 headers may hold, and says how much was left out', () => {
    const problems = Array.from({ length: 500 }, (_, index) => ({
      file: 'ü.yaml',
      line: index,
      message: 'ü'.repeat(50),
    }))
    const status = asServiceError(new ProblemsError('InvalidArgument', problems))
    expect(encodeURIComponent(status.details).length).toBeLessThan(3_100)
    expect(status.details).toMatch(/and \d+ more lines$/)
    const read = readGrpcError(status).problems
    expect(JSON.stringify(read).length).toBeLessThan(4_100)
    expect(read.at(-1)?.message).toBe(`and ${500 - read.length + 1} more problems`)
    expect(toGrpcStatus(new AppError('NotFound', 'x'.repeat(10_000))).details).toHaveLength(301)
  })

  test('that no hub made has neither code nor problems', () => {
    const foreign = Object.assign(new Error(), { code: 14, details: '', metadata: new grpc.Metadata() })
    expect(readGrpcError(foreign)).toEqual({ code: undefined, problems: [] })
    foreign.metadata.set('fairlead-code', 'Nonsense')
    foreign.metadata.set('fairlead-problems-bin', Buffer.from('{'))
    expect(readGrpcError(foreign)).toEqual({ code: undefined, problems: [] })
  })
})

test('a place is written with what is known of it', () => {
  expect(formatErrorDetail({ message: 'm' })).toBe('m')
  expect(formatErrorDetail({ file: 'a', line: 0, message: 'm' })).toBe('a: m')
  expect(formatErrorDetail({ file: '', object: 'o', field: '', message: 'm' })).toBe('o: m')
})
