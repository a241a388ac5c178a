// A commit reaches a cluster as a whole: applications wait for the others that the same commit changes, so that an object
// that moves from one to another is handed over instead of being deleted in between.
import { toJson } from '@bufbuild/protobuf'
import { type ApplicationSpec, RenderOptionsSchema } from '@fairlead/proto/definitions'
import { followedRef } from '@fairlead/shared/followed-ref'
import { otherSourcesOf } from './application-sources.ts'
import { type ApplicationDefinition, type FleetSnapshot, refKey } from './fleet-snapshot.ts'
import type { OtherCommit } from './render-inputs.ts'
import type { RenderTarget } from './render-stage.ts'
import type { RenderSettings } from './renderer/render-tool.ts'
import { type Variant, VariantIndex, variantKey } from './variants.ts'

/** What is to be rendered of an application, for each variant that its clusters need; none while Git has not said which commit. */
export function findTargets(
  { name, spec }: ApplicationDefinition,
  { commits, clusters }: FleetSnapshot,
  variants: VariantIndex,
): RenderTarget[] {
  const { source } = spec
  const commit = source && commits.get(refKey(source.repository, followedRef(source)))
  if (commit === undefined) return []
  const others = otherSourcesOf(spec).flatMap(({ repository, ref }): OtherCommit[] => {
    const other = commits.get(refKey(repository, ref))
    return other === undefined ? [] : [{ repository, ref, commit: other }]
  })
  return variants.neededOf(spec, clusters).map((variant) => targetAt(name, spec, { commit, others, variant }))
}

/** What an application is rendered from at a commit, in a variant. */
export function targetAt(
  name: string,
  spec: ApplicationSpec,
  {
    commit,
    others = [],
    variant: { id, overrides, capabilities },
  }: { readonly commit: string; readonly others?: readonly OtherCommit[]; readonly variant: Variant },
): RenderTarget {
  const { source } = spec
  const { repository = '', path: ownPath = '' } = source ?? {}
  const ref = source ? followedRef(source) : ''
  const substitute = spec.sync?.substitute ?? true
  const path = overrides.findLast((override) => override.path)?.path ?? ownPath
  const base = { application: name, variant: id, repository, ref, commit, path, namespace: spec.namespace, substitute }
  return {
    ...base,
    // The JSON of the message is what RenderSettings describes.
    ...(spec.render ? { render: toJson(RenderOptionsSchema, spec.render) as RenderSettings } : {}),
    ...(overrides.length > 0 ? { overrides } : {}),
    ...(capabilities === undefined ? {} : { capabilitiesDigest: capabilities }),
    ...(others.length > 0 ? { others } : {}),
  }
}

/** Equal for what need not be rendered again. */
export function settledKey({ uid, generation }: ApplicationDefinition, target: RenderTarget): string {
  return JSON.stringify([uid, generation, target])
}

/** Holds applications back until the others of their commit are rendered or refused. */
export class WholeCommits {
  readonly #limitMs: number
  readonly #clock: () => number
  readonly #variants: VariantIndex
  /** By repository, since when applications of it are held without a break. */
  readonly #since = new Map<string, number>()
  #heldUntil = Infinity

  /** A repository's applications are held for at most `limitMs`, default 10,000; `clock` is in ms, default performance.now. */
  constructor({ limitMs = 10_000, clock = () => performance.now(), variants = new VariantIndex() } = {}) {
    this.#limitMs = limitMs
    this.#variants = variants
    this.#clock = clock
  }

  /** When the first of those held now is let go in any case, by the clock; Infinity when none is held. */
  get heldUntil(): number {
    return this.#heldUntil
  }

  /** Names of the changed applications that must wait. `settled` has for each variantKey the settledKey that was rendered or refused last, and must be older than the snapshot. */
  holdBack(
    changed: readonly ApplicationDefinition[],
    now: FleetSnapshot,
    settled: ReadonlyMap<string, string>,
  ): ReadonlySet<string> {
    const pending = new Map<string, string>()
    for (const application of now.applications.values()) {
      if (application.deleting !== null) continue
      for (const target of findTargets(application, now, this.#variants)) {
        if (settled.get(variantKey(target)) === settledKey(application, target)) continue
        pending.set(refKey(target.repository, target.commit), target.repository)
      }
    }
    const repositories = new Set(pending.values())
    for (const repository of this.#since.keys()) if (!repositories.has(repository)) this.#since.delete(repository)
    const held = new Set<string>()
    this.#heldUntil = Infinity
    for (const application of changed) {
      const [target] = findTargets(application, now, this.#variants)
      if (!target || application.deleting !== null || !pending.has(refKey(target.repository, target.commit))) continue
      const until = this.#holdUntil(target.repository)
      if (until <= this.#clock()) continue
      held.add(application.name)
      this.#heldUntil = Math.min(this.#heldUntil, until)
    }
    return held
  }

  #holdUntil(repository: string): number {
    const since = this.#since.get(repository) ?? this.#clock()
    this.#since.set(repository, since)
    return since + this.#limitMs
  }
}
