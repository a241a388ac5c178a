// Bundles the agent for production: dist/agent.js, and apart from it what is only loaded when needed; dist/fairlead.js is
// the command for people who look into the pod.
import { chmod, readdir, rm } from 'node:fs/promises'
import path from 'node:path'
import { build } from 'esbuild'

const folder = import.meta.dirname
const outdir = path.join(folder, 'dist')

const { metafile } = await build({
  entryPoints: { agent: path.join(folder, 'main.ts'), fairlead: path.join(folder, 'fairlead.ts') },
  outdir,
  bundle: true,
  metafile: true,
  // Keeps dynamic imports (reading a kubeconfig) in files of their own: what is not loaded costs no memory.
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

// What earlier builds left; only now, so that dist/agent.js can be started while this runs.
const made = new Set(Object.keys(metafile.outputs).map((file) => path.basename(file)))
for (const file of await readdir(outdir)) if (!made.has(file)) await rm(path.join(outdir, file))
await chmod(path.join(outdir, 'fairlead.js'), 0o755)
