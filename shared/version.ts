// The product's version, from this package's manifest.
import manifest from './package.json' with { type: 'json' }

/** Semantic version of hub, CLI and agent: they are released together. */
export const VERSION: string = manifest.version
