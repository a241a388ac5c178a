// Paths in a repository, as definitions name them.

const MAX_PATH_LENGTH = 1_024

/** Why a path is none of a repository; undefined when it is one. */
export function findPathProblem(path: string): string | undefined {
  if (path.length > MAX_PATH_LENGTH) return `is longer than ${MAX_PATH_LENGTH} characters`
  if (path.startsWith('/')) return 'must be relative to the root of the repository: leave the first "/" out'
  if (path.split('/').includes('..')) return 'must not contain ".."'
  if (/[\0\\]/.test(path)) return 'must not contain a backslash; folders are separated by "/"'
  return undefined
}

/** The path as it is stored: without empty and "." parts, so that equal folders are written alike. */
export function normalizePath(path: string): string {
  return path
    .split('/')
    .filter((part) => part !== '' && part !== '.')
    .join('/')
}
