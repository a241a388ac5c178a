// Whether the API server answers, by the requests that are made anyway.
import type { SeenRequest } from './kube/kube.ts'

/** Remembers since when there has been no answer. */
export class ApiServerContact {
  #awaySince: Date | undefined
  #hasAnswered = false

  /** Takes the outcome of a request. */
  note({ status }: SeenRequest): void {
    if (status > 0) {
      this.#hasAnswered = true
      this.#awaySince = undefined
    } else this.#awaySince ??= new Date()
  }

  /** `reachable`, `not asked yet`, or since when it is away. */
  describe(): string {
    if (this.#awaySince) return `away since ${this.#awaySince.toISOString()}`
    return this.#hasAnswered ? 'reachable' : 'not asked yet'
  }
}
