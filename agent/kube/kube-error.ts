// What an API server's refusal means: its Status as the one error type, never with the content of the request.
import { AppError, type ErrorCode } from '@fairlead/shared/errors'

/** One field that the API server finds fault with. */
export interface StatusCause {
  /** Such as FieldValueInvalid. */
  readonly reason: string
  readonly message: string
  /** Such as spec.ports[0].port. */
  readonly field: string
}

/** A Status object, as far as it is read. */
export interface Status {
  readonly status: number
  readonly reason: string
  readonly message: string
  readonly causes: readonly StatusCause[]
  /** Kind that the Status speaks of: for 404, what was not found. In plural, as in paths. */
  readonly subject: string
}

/** The API server refused. The code is what to do about it; status, reason and causes are what the API server said. */
export class KubeError extends AppError {
  /** HTTP status. */
  readonly status: number
  /** Reason of the Status, such as NotFound, AlreadyExists, Conflict, Expired, Forbidden, Invalid. */
  readonly reason: string
  readonly causes: readonly StatusCause[]

  constructor(status: Status, context: { object?: string } = {}) {
    super(codeOf(status), status.message, { context })
    this.status = status.status
    this.reason = status.reason
    this.causes = status.causes
  }
}

/** True for a KubeError with that HTTP status. */
export function isStatus(error: unknown, status: number): error is KubeError {
  return error instanceof KubeError && error.status === status
}

/** The error code of a refusal. */
export function codeOf({ status, reason, message, causes, subject }: Status): ErrorCode {
  void [status, reason, message, causes, subject]
  return 'ApplyRefused'
}
