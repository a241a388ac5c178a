// The ref of a repository that is followed for an application. Pure.

/** `<chart>:<ref>` where the source names a chart, else the ref alone: of a Helm repository each chart has versions of its own. */
export function followedRef({ chart, ref }: { readonly chart: string; readonly ref: string }): string {
  return chart === '' ? ref : `${chart}:${ref}`
}
