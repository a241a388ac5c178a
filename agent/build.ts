// Bundles the agent for production: dist/agent.js, and apart from it what is only loaded when needed.
import { rm } from 'node:fs/promises'
import path from 'node:path'
import { build } from 'esbuild'

const folder = import.meta.dirname
const outdir = path.join(folder, 'dist')

await rm(outdir, { recursive: true, force: true })
await build({
  entryPoints: { agent: path.join(folder, 'main.ts') },
  outdir,
  bundle: true,
  // Keeps dynamic imports (gRPC, kubeconfig) in files of their own: what is not loaded costs no memory.
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node24',
  minifySyntax: true,
  minifyWhitespace: true,
  sourcemap: false,
  legalComments: 'linked',
  logLevel: 'warning',
  chunkNames: '[name]-[hash]',
  // CommonJS dependencies ask for Node's own modules by require.
  banner: {
    js: "import{createRequire as __createRequire}from'node:module';const require=__createRequire(import.meta.url);",
  },
})
