// Bundles CLI and hub into dist/fairlead.js, and each worker thread of the hub into dist/<name>-worker.js beside it.
// Nothing is left external: the folder dist/, with the rendering engine in it, runs by itself on Node 24.
import { chmod, copyFile, cp, glob, readFile, rename, rm } from 'node:fs/promises'
import { createRequire } from 'node:module'
import path from 'node:path'
import { build, type Plugin } from 'esbuild'

const here = import.meta.dirname
const server = path.join(here, '..', 'server')
/** Where to, default dist/; a test builds into a folder of its own: node build.ts <folder>. */
const dist = path.resolve(process.argv[2] ?? path.join(here, 'dist'))

/** What CommonJS packages expect in scope, and a clear word on an old Node instead of a stack trace. */
const banner = `
import { createRequire as __createRequire } from 'node:module';
if (Number(process.versions.node.split('.')[0]) < 24) {
  console.error('error: fairlead needs Node 24 or newer, this is Node ' + process.versions.node);
  process.exit(1);
}
const require = __createRequire(import.meta.url);
const __dirname = import.meta.dirname;
const __filename = import.meta.filename;
`

/** `new Worker(new URL('../x/y-worker.ts', import.meta.url))` in source is `./y-worker.js` beside the bundle. */
const workerUrls: Plugin = {
  name: 'worker-urls',
  setup({ onLoad }) {
    onLoad({ filter: /[\\/]hub[\\/]server[\\/].*\.ts$/ }, async ({ path: file }) => {
      const source = await readFile(file, 'utf8')
      const contents = source.replace(
        /new URL\(\s*(['"])\.{1,2}\/(?:[\w.-]+\/)*([\w-]+-worker)\.ts\1\s*,/g,
        (_all, _quote, name: string) => `new URL('./${name}.js',`,
      )
      return { contents, loader: 'ts' }
    })
  },
}

/** node:sqlite, asked for when the hub starts: a static import would fail on an old Node before the banner can speak. */
const lazySqlite: Plugin = {
  name: 'lazy-sqlite',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^node:sqlite$/ }, () => ({ path: 'node:sqlite', namespace: 'builtin' }))
    onLoad({ filter: /.*/, namespace: 'builtin' }, () => ({
      contents: "module.exports = process.getBuiltinModule('node:sqlite')",
      loader: 'js',
    }))
  },
}

/** gRPC's health and reflection packages read their .proto files when they run; in the bundle these are data. */
const inlineProtos: Plugin = {
  name: 'inline-protos',
  setup({ onLoad }) {
    onLoad({ filter: /grpc-health-check[\\/]build[\\/]src[\\/]health\.js$/ }, async ({ path: file }) => {
      const json = protoAsJson(file, '../../proto/health/v1/health.proto', true)
      return { contents: await replaceOnce(file, "loadSync)('health/v1/health.proto',", `fromJSON)(${json},`) }
    })
    onLoad(
      { filter: /@grpc[\\/]reflection[\\/]build[\\/]src[\\/]implementations[\\/]reflection-v1(alpha)?\.js$/ },
      async ({ path: file }) => {
        const version = path.basename(file, '.js').replace('reflection-', '')
        const json = protoAsJson(file, `../../proto/grpc/reflection/${version}/reflection.proto`, false)
        return { contents: await replaceOnce(file, 'loadSync(protoPath,', `fromJSON(${json},`) }
      },
    )
  },
}

async function replaceOnce(file: string, wanted: string, replacement: string): Promise<string> {
  const parts = (await readFile(file, 'utf8')).split(wanted)
  if (parts.length !== 2)
    throw new Error(`${file} no longer holds ${JSON.stringify(wanted)} once; adapt hub/cli/build.ts`)
  return parts.join(replacement)
}

/** The .proto file as protobufjs keeps it, parsed by the protobufjs of the package that would have parsed it. */
function protoAsJson(importer: string, proto: string, keepCase: boolean): string {
  const requireLoader = createRequire(createRequire(importer).resolve('@grpc/proto-loader'))
  const { Root } = requireLoader('protobufjs') as { Root: new () => ProtobufRoot }
  return JSON.stringify(new Root().loadSync(path.resolve(path.dirname(importer), proto), { keepCase }).toJSON())
}

interface ProtobufRoot {
  loadSync(file: string, options: { keepCase: boolean }): ProtobufRoot
  toJSON(): unknown
}

async function findWorkers(): Promise<Record<string, string>> {
  const workers: Record<string, string> = {}
  for await (const file of glob('**/*-worker.ts', { cwd: server, exclude: ['**/node_modules/**'] })) {
    const name = path.basename(file, '.ts')
    if (workers[name]) throw new Error(`two workers are named ${name}`)
    workers[name] = path.join(server, file)
  }
  return workers
}

// Built aside and put in place as a whole: what runs from dist/ meanwhile, or after a failed build, is the last good one.
const aside = `${dist}.new-${process.pid}`
await build({
  entryPoints: { fairlead: path.join(here, 'main.ts'), ...(await findWorkers()) },
  outdir: aside,
  bundle: true,
  platform: 'node',
  target: 'node24',
  format: 'esm',
  mainFields: ['module', 'main'],
  banner: { js: banner },
  plugins: [workerUrls, lazySqlite, inlineProtos],
  legalComments: 'linked',
  logLevel: 'warning',
})
await cp(path.join(server, 'schemas', 'data'), path.join(aside, 'data'), { recursive: true })
await chmod(path.join(aside, 'fairlead.js'), 0o755)
// See engineUrl in hub/server/renderer/engine-module.ts.
await copyFile(path.join(here, '..', 'engine', 'dist', 'engine.wasm.zst'), path.join(aside, 'engine.wasm.zst'))
await rm(dist, { recursive: true, force: true })
await rename(aside, dist)
