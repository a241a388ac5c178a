// The exit codes of `fairlead`: scripts depend on them, so they never change their meaning. docs/reference/cli.md lists them.
import type { AppError } from '@fairlead/shared/errors'

/** Every exit code with what it means, in the words of the reference. */
export const EXIT_CODES = {
  ok: { code: 0, meaning: 'Done.' },
  failure: { code: 1, meaning: 'Something else went wrong; the message says what.' },
  usage: { code: 2, meaning: 'The command line, the context file or a definition is not valid. Nothing was changed.' },
  notFound: { code: 3, meaning: 'The named thing does not exist.' },
  unreachable: {
    code: 4,
    meaning: 'The hub cannot be reached, does not present the CA of the context, or did not answer in time.',
  },
  refused: { code: 5, meaning: 'The hub refuses the token, or what it may do.' },
  conflict: {
    code: 6,
    meaning:
      'The request does not fit the present state: the name is taken, the thing is in use, or something it needs is missing.',
  },
  notReady: {
    code: 7,
    meaning:
      'With `--wait`, the time was up before all was done; with `status --exit-code`, something is not Synced and Healthy.',
  },
  invalid: {
    code: 8,
    meaning: '`validate` found something wrong, or `bootstrap` with some definitions; the others are taken over.',
  },
  different: { code: 9, meaning: '`diff` found differences.' },
  interrupted: { code: 130, meaning: 'Ended by Ctrl-C before it was done.' },
} as const satisfies Record<string, { code: number; meaning: string }>

/** The exit code for a failure. */
export function exitCodeOf(error: AppError): number {
  switch (error.code) {
    case 'InvalidArgument':
      return EXIT_CODES.usage.code
    case 'NotFound':
      return EXIT_CODES.notFound.code
    case 'Unavailable':
      return EXIT_CODES.unreachable.code
    case 'Unauthenticated':
    case 'PermissionDenied':
      return EXIT_CODES.refused.code
    case 'AlreadyExists':
    case 'FailedPrecondition':
      return EXIT_CODES.conflict.code
    case 'Aborted':
      return EXIT_CODES.interrupted.code
    default:
      return EXIT_CODES.failure.code
  }
}

/** What a person can do about a failure, where there is something; one line. */
export function hintOf(error: AppError): string | undefined {
  switch (error.code) {
    case 'Unavailable':
      return 'is the hub running? start one by `fairlead hub`, or choose another by `--context` (`fairlead context list`)'
    case 'Unauthenticated':
      return 'the hub does not know the token of this context; see `fairlead context show`, and `fairlead context set` to change it'
    case 'Internal':
      return 'this is a defect in Fairlead; the log of the hub has the details'
    default:
      return undefined
  }
}
