// What the folders of repositories hold, by the ids of their trees, for many looks at one commit and at the next.
import type { TreeEntry } from './git-object.ts'

/** Most entries of folders on the way to others, some 10 MB. */
const MAX_ENTRIES = 50_000
const MAX_PLAIN = 100_000

/** Remembers folders, up to a limit. */
export class FolderCache {
  readonly #entries = new Map<string, ReadonlyMap<string, TreeEntry>>()
  #count = 0
  readonly #plain = new Set<string>()

  /** The entries of a tree by name; undefined when it is not remembered. */
  find(tree: string): ReadonlyMap<string, TreeEntry> | undefined {
    return this.#entries.get(tree)
  }

  /** Remembers a tree that holds no submodules. */
  add(tree: string, entries: ReadonlyMap<string, TreeEntry>): void {
    this.#count += entries.size
    if (this.#count > MAX_ENTRIES) {
      this.#entries.clear()
      this.#count = entries.size
    }
    this.#entries.set(tree, entries)
  }

  /** True for a tree within the limits of what is read, below which nothing depends on anything else of the repository. */
  isPlain(tree: string): boolean {
    return this.#plain.has(tree)
  }

  addPlain(tree: string): void {
    if (this.#plain.size >= MAX_PLAIN) this.#plain.clear()
    this.#plain.add(tree)
  }
}
