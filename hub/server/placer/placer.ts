// Decides which clusters run an application. Pure.
import type { Placement } from '@fairlead/proto/definitions'
import { AppError } from '@fairlead/shared/errors'
import { type Labels, matchesSelector } from '../label-selector.ts'

/** What placement knows of a cluster. */
export interface PlaceableCluster {
  readonly id: string
  readonly name: string
  /** Given by administrators; what an agent says of its cluster plays no part. */
  readonly labels: Labels
}

/** Ids of the clusters that run an application, in the order of `clusters`. Names that no cluster has are passed over: such a cluster may come later. Throws InvalidArgument unless exactly one of `clusters` and `names` is given, because "cannot tell" must never read as "nowhere". */
export function placeApplication(placement: Placement | undefined, clusters: readonly PlaceableCluster[]): string[] {
  const selector = placement?.clusters
  const names = new Set(placement?.names)
  if ((selector === undefined) === (names.size === 0)) {
    throw new AppError('InvalidArgument', 'a placement needs exactly one of clusters and names')
  }
  const isSelected = (cluster: PlaceableCluster): boolean =>
    selector ? matchesSelector(selector, cluster.labels) : names.has(cluster.name)
  return clusters.filter(isSelected).map((cluster) => cluster.id)
}
