// What the tracker hands to the renderer: the files of one folder at one commit.
import type { ErrorCode } from '@fairlead/shared/errors'

/** One file. */
export interface SourceFile {
  /** From the repository's root, with slashes. */
  readonly path: string
  /** As Git stores it: `100644` or `100755`. */
  readonly mode: string
  /** May be a view of a shared buffer: read only. */
  readonly bytes: Uint8Array
}

/** An entry that is there but could not be handed over. */
export interface SkippedEntry {
  /** From the repository's root, with slashes. */
  readonly path: string
  readonly kind: 'file' | 'symlink' | 'submodule'
  /** LimitExceeded, UnsafePath, PathNotFound (a dangling link), or InvalidManifest (submodules and Git LFS pointers). */
  readonly code: ErrorCode
  /** One sentence for people. */
  readonly message: string
}

/** Every file below a folder at a commit, or one file. */
export interface SourceTree {
  readonly commit: string
  /** Equal exactly when the content is: the Git object id of the folder; where symbolic links lead out of the folder, joined with the root's. */
  readonly treeOid: string
  /** Sorted by path, bytewise. */
  readonly files: readonly SourceFile[]
  /** Sorted by path, bytewise. */
  readonly skipped: readonly SkippedEntry[]
}
