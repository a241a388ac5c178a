// Everything that an application has from repositories: what it is rendered from, and value files elsewhere. Pure.
import type { ApplicationSpec } from '@fairlead/proto/definitions'
import { followedRef } from '@fairlead/shared/followed-ref'

/** A repository, and the ref of it that is followed. */
export interface FollowedSource {
  readonly repository: string
  readonly ref: string
}

/** All of them, each once. */
export function sourcesOf(
  spec: Pick<ApplicationSpec, 'source' | 'render' | 'overrides' | 'forEach'>,
): FollowedSource[] {
  const { source, forEach } = spec
  const own = source ? [{ repository: source.repository, ref: followedRef(source) }] : []
  const inputs = [forEach?.folders, forEach?.file].flatMap((each) => each ?? [])
  return unique([...own, ...inputs.map(({ repository, ref }) => ({ repository, ref })), ...otherSourcesOf(spec)])
}

/** Those of value files. */
export function otherSourcesOf({ render, overrides }: Pick<ApplicationSpec, 'render' | 'overrides'>): FollowedSource[] {
  const helm = [render?.helm, ...overrides.map((override) => override.helm)]
  const files = helm.flatMap((each) => each?.valuesFrom ?? [])
  return unique(files.map(({ repository, ref }) => ({ repository, ref })))
}

function unique(sources: readonly FollowedSource[]): FollowedSource[] {
  return [...new Map(sources.map((source) => [JSON.stringify([source.repository, source.ref]), source])).values()]
}
