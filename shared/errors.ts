// The one error type. Its code comes from a closed list and is the same word everywhere: condition reason, log field,
// metric label, API detail. docs/reference/errors.md explains each; a test holds the two together.

/** `user`: the repository or the request must change, retrying is useless. `transient`: try again later. `bug`: crash with the stack. */
export type ErrorKind = 'user' | 'transient' | 'bug'

/** Every error code with its kind and what it means. */
export const ERROR_CODES = {
  // Requests and definitions
  InvalidArgument: { kind: 'user', summary: 'A request or a definition is not valid.' },
  NotFound: { kind: 'user', summary: 'The named thing does not exist.' },
  AlreadyExists: { kind: 'user', summary: 'The name is taken.' },
  FailedPrecondition: {
    kind: 'user',
    summary: 'The request does not fit the present state, for example deleting a repository in use.',
  },
  Unauthenticated: { kind: 'user', summary: 'No valid bearer token was given.' },
  PermissionDenied: { kind: 'user', summary: 'The caller may not do this.' },
  // Enrolment
  JoinTokenRefused: {
    kind: 'user',
    summary: 'The join token is unknown, was used before, has expired or belongs to another hub.',
  },
  TooManyAttempts: { kind: 'transient', summary: 'Too many wrong tokens were tried; wait.' },
  CaPinMismatch: { kind: 'user', summary: 'The hub does not present the CA that the pin names.' },
  IdentityRevoked: { kind: 'user', summary: 'The hub has removed this cluster or replaced its key; join again.' },
  // Git
  RepositoryUnreachable: { kind: 'transient', summary: 'The Git server does not answer as a Git server does.' },
  RepositoryAuthFailed: { kind: 'user', summary: 'The Git server refuses the credentials, or wants some.' },
  RepositoryNotFound: { kind: 'user', summary: 'The Git server knows no such repository.' },
  RepositoryEmpty: { kind: 'user', summary: 'The repository has no commits.' },
  DependencyUnavailable: { kind: 'transient', summary: 'A chart that another one depends on cannot be had.' },
  RefNotFound: { kind: 'user', summary: 'The repository has no such branch, tag or commit.' },
  FetchFailed: { kind: 'transient', summary: 'The commit was announced but could not be fetched.' },
  SignatureRejected: { kind: 'user', summary: 'The commit is not signed by a key that the Repository allows.' },
  // Rendering
  PathNotFound: { kind: 'user', summary: 'The commit has no such folder or file.' },
  InvalidYaml: { kind: 'user', summary: 'A file is not valid YAML.' },
  InvalidManifest: {
    kind: 'user',
    summary: 'A document is not a Kubernetes object: apiVersion, kind or name is missing or of the wrong type.',
  },
  DuplicateObject: { kind: 'user', summary: 'The same object is declared twice.' },
  InvalidNamespace: { kind: 'user', summary: 'A namespace is not a valid name.' },
  RenderFailed: { kind: 'user', summary: 'Helm or Kustomize cannot render what is in Git.' },
  RenderTimeout: { kind: 'transient', summary: 'Rendering took longer than the limit.' },
  UnsafePath: { kind: 'user', summary: 'A symbolic link or a path leads out of the tree.' },
  LimitExceeded: { kind: 'user', summary: 'A file, a tree or the output is larger than the limits allow.' },
  // Link
  NatsUnavailable: { kind: 'transient', summary: 'NATS cannot be reached.' },
  SliceRefused: {
    kind: 'user',
    summary: 'A slice or command was not signed by the hub, is for another cluster, or is not newer.',
  },
  ArtifactUnavailable: { kind: 'transient', summary: 'An artifact could not be fetched.' },
  ArtifactCorrupt: { kind: 'transient', summary: 'An artifact does not have the digest that the slice names.' },
  // Applying
  UnknownKind: { kind: 'user', summary: 'The API server serves no such kind; perhaps its CRD is missing.' },
  NamespaceNotFound: { kind: 'user', summary: 'The namespace does not exist and is not declared.' },
  ApplyForbidden: { kind: 'user', summary: 'The agent may not write this object.' },
  ApplyInvalid: { kind: 'user', summary: 'The API server refuses the object as invalid.' },
  ImmutableField: { kind: 'user', summary: 'A field that cannot be changed was changed.' },
  ApplyConflict: { kind: 'transient', summary: 'The object changed while it was written.' },
  ApplyRefused: {
    kind: 'transient',
    summary: 'An admission webhook, a quota or a terminating namespace refuses the object.',
  },
  AdoptionRefused: {
    kind: 'user',
    summary: 'The object exists, nobody manages it, and the policy does not allow taking it over.',
  },
  OwnedByAnother: { kind: 'user', summary: 'Another application declares the object too; the first keeps it.' },
  DependencyFailed: { kind: 'transient', summary: 'Not applied because an object that it needs was not.' },
  WaitingForDependency: {
    kind: 'transient',
    summary: 'A new revision waits for an application that it depends on to be healthy at its own.',
  },
  PruneFailed: { kind: 'transient', summary: 'An object that is no longer declared could not be deleted.' },
  PruneHeld: { kind: 'user', summary: 'An object that is no longer declared is kept by a guard.' },
  ValidationFailed: {
    kind: 'user',
    summary: 'Nothing was applied, because the API server refuses an object of the application.',
  },
  UnknownVariable: { kind: 'user', summary: 'A manifest uses a variable that this cluster does not have.' },
  DecryptionFailed: { kind: 'user', summary: 'An encrypted manifest cannot be decrypted in this cluster.' },
  ServiceAccountMissing: {
    kind: 'user',
    summary: 'The service account that the application names does not exist; nothing is done in its place.',
  },
  PolicyForbids: { kind: 'user', summary: "The cluster's own policy does not allow it, whatever the hub says." },
  HookFailed: { kind: 'user', summary: 'A hook of the revision did not succeed.' },
  InvalidHealthRule: { kind: 'user', summary: 'A health rule is not valid CEL, or failed on an object.' },
  FieldFight: { kind: 'transient', summary: 'Another writer keeps changing what the application declares.' },
  ApiServerUnavailable: { kind: 'transient', summary: 'The API server cannot be reached or is overloaded.' },
  // Everything else
  Unavailable: { kind: 'transient', summary: 'A part that is needed is not up yet.' },
  Aborted: { kind: 'transient', summary: 'The work was given up because something newer came or the process ends.' },
  Internal: { kind: 'bug', summary: 'A defect in Fairlead.' },
} as const satisfies Record<string, { kind: ErrorKind; summary: string }>

/** A code out of the closed list. */
export type ErrorCode = keyof typeof ERROR_CODES

/** Where an error comes from; each part is shown when it is known. */
export interface ErrorContext {
  /** The object concerned, as formatObjectReference writes it, or the definition's kind/name. */
  readonly object?: string
  /** File in Git or on the user's disk. */
  readonly file?: string
  /** Line in that file, counted from 1. */
  readonly line?: number
  /** Field path within the document. */
  readonly field?: string
}

/** The one error type: a code, a sentence for people, where it comes from, and the cause. */
export class AppError extends Error {
  override readonly name = 'AppError'
  readonly code: ErrorCode
  readonly context: ErrorContext

  constructor(code: ErrorCode, message: string, options: { context?: ErrorContext; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? {} : { cause: options.cause })
    this.code = code
    this.context = options.context ?? {}
  }

  /** What to do about it. */
  get kind(): ErrorKind {
    return ERROR_CODES[this.code].kind
  }
}

/** True for an error code of the closed list. */
export function isErrorCode(value: string): value is ErrorCode {
  return Object.hasOwn(ERROR_CODES, value)
}

/** Any thrown value as an AppError: aborts become `Aborted`, everything unknown becomes `fallback` (default `Internal`). */
export function toAppError(error: unknown, fallback: ErrorCode = 'Internal'): AppError {
  if (error instanceof AppError) return error
  if (error instanceof Error) {
    const code = error.name === 'AbortError' || error.name === 'TimeoutError' ? 'Aborted' : fallback
    return new AppError(code, error.message, { cause: error })
  }
  return new AppError(fallback, String(error))
}

/** True when an error only says that the work was given up. */
export function isAborted(error: unknown): boolean {
  return (
    (error instanceof AppError && error.code === 'Aborted') || (error instanceof Error && error.name === 'AbortError')
  )
}
