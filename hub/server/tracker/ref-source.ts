// Where the refs of one repository are looked up and what they name is brought from: a Git server, or a registry of packages.
import type { LfsReader } from './mirror.ts'
import type { PushedRef } from './pushed-refs.ts'
import type { SourceTree } from './source-tree.ts'
import type { FollowedRepository, RefOutcome } from './tracked-rows.ts'

/** Looks refs up. One method at a time is called of poll, bringChart, bringCommit and repair. */
export interface RefSource {
  /** Number of fetches so far: when it has grown, what could not be read may be there now. */
  readonly fetches: number
  /** Downloads what Git LFS pointers stand for; undefined when the repository does not ask for it. */
  findLfs(repository: FollowedRepository): LfsReader | undefined
  /** Looks at every ref that is asked for, and brings what they name. Rejects for what concerns the whole repository. */
  poll(repository: FollowedRepository, signal: AbortSignal): Promise<RefOutcome[]>
  /** What a version of a chart is, brought; undefined where there are no charts. Rejects as poll's outcomes and poll do. */
  bringChart(
    repository: FollowedRepository,
    chart: { readonly name: string; readonly version: string },
    signal: AbortSignal,
  ): Promise<string | undefined>
  /** Brings a commit that no ref need name, signed as it should be and complete. Rejects as poll's outcomes and poll do. */
  bringCommit(repository: FollowedRepository, commit: string, signal: AbortSignal): Promise<void>
  /** Brings `commit` again, because what is here turned out to lack or to have lost something. Rejects as poll does. */
  repair(repository: FollowedRepository, commit: string, signal: AbortSignal): Promise<void>
  /** Has the next poll try again what could not be brought. */
  forgetRefusals(): void
  /** Somebody says that these refs were pushed. */
  expect(pushed: readonly PushedRef[]): void
  /** How long to wait before looking again for what was pushed, in milliseconds; undefined when nothing is waited for. */
  nextLookMs(): number | undefined
}

/** Reads what was brought. */
export interface TreeStore {
  /** Every file below a path at a commit; with `lfs`, what Git LFS pointers stand for. Rejects as readSourceTree throws. */
  readTree(
    commit: string,
    below: string,
    options: { readonly lfs: LfsReader | undefined; readonly signal: AbortSignal },
  ): Promise<SourceTree>
  /** The folders that match a pattern at a commit. Rejects as listFolders throws. */
  listFolders(commit: string, pattern: string, signal: AbortSignal): Promise<readonly string[]>
  /** The treeOid of each path at a commit; undefined where reading it would fail. Rejects with FetchFailed for damage. */
  findTreeOids(
    commit: string,
    paths: readonly string[],
    options: { readonly withLfs: boolean; readonly signal: AbortSignal },
  ): Promise<readonly (string | undefined)[]>
}
