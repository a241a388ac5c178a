// Which repositories a delivery may mean. Pure.
import { addressKey } from '../repository-address.ts'
import type { Delivery } from './payload.ts'

/** A repository that takes webhooks. */
export interface HookedRepository {
  readonly name: string
  /** spec.url. */
  readonly url: string
  /** spec.webhook.secretFrom. */
  readonly secretFrom: string
}

/** Finds repositories by name and by address. */
export class HookIndex {
  readonly #byName: ReadonlyMap<string, HookedRepository>
  readonly #byAddress: ReadonlyMap<string | undefined, readonly HookedRepository[]>

  constructor(repositories: readonly HookedRepository[]) {
    this.#byName = new Map(repositories.map((repository) => [repository.name, repository]))
    this.#byAddress = Map.groupBy(repositories, ({ url }) => addressKey(url))
  }

  /** The repository of that name, in a list. */
  findByName(name: string): readonly HookedRepository[] {
    const repository = this.#byName.get(name)
    return repository ? [repository] : []
  }

  /** Those whose address is one of the delivery's, or ends as it says. */
  findByDelivery({ addresses, pathEnd }: Delivery): readonly HookedRepository[] {
    const found = new Set(addresses.flatMap((address) => this.#byAddress.get(address) ?? []))
    if (pathEnd === '') return [...found]
    for (const [address, repositories] of this.#byAddress) {
      if (address?.endsWith(pathEnd)) for (const repository of repositories) found.add(repository)
    }
    return [...found]
  }
}
