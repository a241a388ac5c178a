// Turns what gRPC throws into the AppError that a person can act upon.
import { AppError, type ErrorCode } from '@fairlead/shared/errors'
import { ProblemsError, readGrpcError } from '@fairlead/shared/grpc-status'
import * as grpc from '@grpc/grpc-js'

const CODES: Partial<Record<grpc.status, ErrorCode>> = {
  [grpc.status.INVALID_ARGUMENT]: 'InvalidArgument',
  [grpc.status.NOT_FOUND]: 'NotFound',
  [grpc.status.ALREADY_EXISTS]: 'AlreadyExists',
  [grpc.status.FAILED_PRECONDITION]: 'FailedPrecondition',
  [grpc.status.UNAUTHENTICATED]: 'Unauthenticated',
  [grpc.status.PERMISSION_DENIED]: 'PermissionDenied',
  [grpc.status.UNAVAILABLE]: 'Unavailable',
  [grpc.status.DEADLINE_EXCEEDED]: 'Unavailable',
  [grpc.status.CANCELLED]: 'Aborted',
  [grpc.status.ABORTED]: 'Aborted',
  [grpc.status.RESOURCE_EXHAUSTED]: 'LimitExceeded',
}

/** The AppError of a failed call: the hub's own, else what gRPC says. */
export function toHubError(error: unknown, address: string): AppError {
  if (error instanceof AppError) return error
  if (!isServiceError(error))
    return new AppError('Aborted', error instanceof Error ? error.message : String(error), { cause: error })
  const { code: named, problems } = readGrpcError(error)
  if (problems.length > 0) return new ProblemsError(named ?? 'InvalidArgument', problems)
  const code = CODES[error.code] ?? 'Internal'
  if (named !== undefined) return new AppError(named, error.details, { cause: error })
  return new AppError(code, messageOf(error, address), { cause: error })
}

function messageOf(error: grpc.ServiceError, address: string): string {
  switch (error.code) {
    case grpc.status.UNAVAILABLE:
      return unavailableMessage(error.details, address)
    case grpc.status.DEADLINE_EXCEEDED:
      return `the hub at ${address} did not answer in time`
    case grpc.status.CANCELLED:
      return 'interrupted'
    default:
      return error.details || `the hub answered ${grpc.status[error.code]}`
  }
}

/** grpc-js tells a refused connection, a wrong name and a wrong CA only in its words. */
function unavailableMessage(details: string, address: string): string {
  const reason = details.match(/Last error: (.*?)(?:\. Resolution note:.*)?$/s)?.[1] ?? details
  if (/certificate|self-signed|unable to verify|altnames|wrong version number|SSL|TLS/i.test(reason)) {
    return `the hub at ${address} does not present a certificate of this context's CA: ${reason}`
  }
  if (reason.includes('ECONNREFUSED')) return `the hub at ${address} cannot be reached: connection refused`
  return `the hub at ${address} cannot be reached: ${reason}`
}

function isServiceError(error: unknown): error is grpc.ServiceError {
  return error instanceof Error && typeof (error as Partial<grpc.ServiceError>).code === 'number'
}
