// Kinds as people type them.
import { AppError } from '@fairlead/shared/errors'

/** A kind of thing that the hub keeps. */
export type Kind = 'cluster' | 'repository' | 'application'

const WORDS: Readonly<Record<Kind, readonly string[]>> = {
  cluster: ['cluster', 'clusters'],
  repository: ['repository', 'repositories', 'repo', 'repos'],
  application: ['application', 'applications', 'app', 'apps'],
}

/** The kind of a word: singular, plural or short, in any case. Throws InvalidArgument for others. */
export function parseKind(text: string): Kind {
  const word = text.toLowerCase()
  for (const kind of ['cluster', 'repository', 'application'] as const) if (WORDS[kind].includes(word)) return kind
  throw new AppError('InvalidArgument', `there is no kind "${text}"; there are clusters, repositories and applications`)
}
