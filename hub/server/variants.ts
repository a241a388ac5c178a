// Which clusters need which render of an application: those for which the same overrides count, and where it sees that
// the same capabilities, share one. Pure.
import { toJson } from '@bufbuild/protobuf'
import { type ApplicationSpec, type Override, OverrideSchema } from '@fairlead/proto/definitions'
import { canonicalJson, sha256Hex } from '@fairlead/shared/digest'
import { seesCapabilities } from './capabilities.ts'
import { matchesSelector } from './label-selector.ts'
import { type PlaceableCluster, placeApplication } from './placer/placer.ts'
import type { RenderOverride } from './renderer/render-tool.ts'

/** One way in which an application is rendered. */
export interface Variant {
  /** Equal for equal overrides and capabilities; empty without any. */
  readonly id: string
  /** Indexes in `spec.overrides`, in order. */
  readonly indexes: readonly number[]
  /** The overrides, without the choice of clusters. */
  readonly overrides: readonly RenderOverride[]
  /** Digest of what charts see of the clusters; absent where it is the same for all. */
  readonly capabilities?: string
}

/** What variants depend on of a cluster. */
export interface VariableCluster extends PlaceableCluster {
  /** Digest of what its agent reports for charts; empty while it has not. */
  readonly capabilities: string
}

/** An application as it is defined, without overrides. */
export const BASE_VARIANT: Variant = { id: '', indexes: [], overrides: [] }

/** The one name of a variant of an application. */
export function variantKey({
  application,
  variant,
}: {
  readonly application: string
  readonly variant: string
}): string {
  return JSON.stringify([application, variant])
}

/** Which of the overrides count on a cluster, as indexes in order. */
export function findOverrides({ overrides }: ApplicationSpec, { name, labels }: PlaceableCluster): number[] {
  return overrides.flatMap(({ clusters, names }, index) => {
    const isMeant = clusters ? matchesSelector(clusters, labels) : names.includes(name)
    return isMeant ? [index] : []
  })
}

/** The variant of a cluster. */
export function variantOf(spec: ApplicationSpec, cluster: VariableCluster): Variant {
  return variantWith(spec, findOverrides(spec, cluster), seenOf(spec, cluster))
}

/** The variant in which these overrides count, on clusters with these capabilities. */
export function variantWith({ overrides }: ApplicationSpec, indexes: readonly number[], capabilities = ''): Variant {
  if (indexes.length === 0 && capabilities === '') return BASE_VARIANT
  const counting = indexes.flatMap((index) => overrides[index] ?? []).map(toRenderOverride)
  const idOf = (content: unknown): string => sha256Hex(canonicalJson(content)).slice(0, 16)
  if (capabilities === '') return { id: idOf(counting), indexes, overrides: counting }
  return { id: idOf([counting, capabilities]), indexes, overrides: counting, capabilities }
}

function toRenderOverride(override: Override): RenderOverride {
  // The JSON of the message is what RenderOverride describes.
  const { clusters: _clusters, names: _names, ...rest } = toJson(OverrideSchema, override) as Record<string, unknown>
  return rest
}

/** Digest of what the application sees of the cluster; empty for nothing. */
function seenOf(spec: ApplicationSpec, { capabilities }: VariableCluster): string {
  return seesCapabilities(spec) ? capabilities : ''
}

function isSameEverywhere(spec: ApplicationSpec): boolean {
  return spec.overrides.length === 0 && !seesCapabilities(spec)
}

/** Remembers variants: specs and clusters stay the same objects from one look to the next as long as nothing changes. */
export class VariantIndex {
  readonly #known = new WeakMap<ApplicationSpec, KnownVariants>()

  /** The variants that the placed clusters need, base first; the base alone where none is placed, or the placement cannot be told. */
  neededOf(spec: ApplicationSpec, clusters: ReadonlyMap<string, VariableCluster>): readonly Variant[] {
    if (isSameEverywhere(spec)) return [BASE_VARIANT]
    const known = this.#of(spec)
    if (known.clusters !== clusters) {
      known.clusters = clusters
      known.needed = this.#findNeeded(spec, [...clusters.values()])
    }
    return known.needed
  }

  /** The variant of a cluster. */
  of(spec: ApplicationSpec, cluster: VariableCluster): Variant {
    if (isSameEverywhere(spec)) return BASE_VARIANT
    const indexes = findOverrides(spec, cluster)
    const capabilities = seenOf(spec, cluster)
    const { byContent } = this.#of(spec)
    const key = `${capabilities} ${indexes.join()}`
    const variant = byContent.get(key) ?? variantWith(spec, indexes, capabilities)
    byContent.set(key, variant)
    return variant
  }

  #of(spec: ApplicationSpec): KnownVariants {
    const known = this.#known.get(spec) ?? { byContent: new Map(), clusters: undefined, needed: [BASE_VARIANT] }
    this.#known.set(spec, known)
    return known
  }

  #findNeeded(spec: ApplicationSpec, clusters: readonly VariableCluster[]): readonly Variant[] {
    if (!spec.placement) return [BASE_VARIANT]
    const placed = new Set(placeApplication(spec.placement, clusters))
    const variants = new Map<string, Variant>()
    for (const cluster of clusters) {
      if (!placed.has(cluster.id)) continue
      const variant = this.of(spec, cluster)
      variants.set(variant.id, variant)
    }
    if (variants.size === 0) return [BASE_VARIANT]
    return [...variants.values()].sort((a, b) => (a.id < b.id ? -1 : 1))
  }
}

interface KnownVariants {
  readonly byContent: Map<string, Variant>
  clusters: ReadonlyMap<string, VariableCluster> | undefined
  needed: readonly Variant[]
}
