// A host of packages on loopback: a real OCI registry (that of crane) and the index of a Helm repository, behind a door with
// switches for what registries do: ask for logins and tokens, send elsewhere, and fail.

import { createHash } from 'node:crypto'
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http'
import path from 'node:path'
import { gzipSync } from 'node:zlib'
import { pack } from 'tar-stream'
import { run } from '../tools/go-build.ts'
import { ensureTools } from '../tools/tools.ts'
import { makeRunFolder } from './guardian.ts'
import { takePort } from './ports.ts'
import { type ManagedProcess, startProcess } from './process.ts'
import { waitFor } from './wait.ts'

/** What the door asks of who comes: nothing, Basic credentials, or a token that its token service gives for them. */
export type RegistryLogin = {
  readonly kind: 'basic' | 'token'
  readonly username: string
  readonly password: string
}

/** Files of an artifact or chart by path. */
export type PackageFiles = Readonly<Record<string, string | Buffer>>

/** How an artifact is published. */
export type PublishOptions = {
  /** Media types of the config and of the one layer: as Flux does by default. */
  readonly configType?: string
  readonly layerType?: string
  /** The archive itself in place of files. */
  readonly archive?: Buffer
}

const FLUX_CONFIG = 'application/vnd.cncf.flux.config.v1+json'
const FLUX_LAYER = 'application/vnd.cncf.flux.content.v1.tar+gzip'
const MANIFEST = 'application/vnd.oci.image.manifest.v1+json'

/** Starts a host of packages with nothing on it. */
export async function startRegistry(): Promise<RegistryServer> {
  const { crane } = await ensureTools(['crane'])
  const server = new RegistryServer(crane, await takePort(), await takePort())
  try {
    await server.start()
  } catch (error) {
    await server.stop()
    throw error
  }
  return server
}

/** A running host of packages. */
export class RegistryServer implements AsyncDisposable {
  /** `127.0.0.1:<port>` of the door. */
  readonly host: string
  /** `http://127.0.0.1:<port>/charts`: a Helm repository. */
  readonly chartsUrl: string
  /** `127.0.0.1:<port>` of the registry itself, past the door: where publishers go. */
  readonly behind: string
  readonly folder = makeRunFolder('registry')
  /** What everybody who comes through the door must have; undefined: nothing. */
  login: RegistryLogin | undefined
  /** Where the token service says it is; undefined: at the door. */
  tokenRealm: string | undefined
  /** Sends whoever wants a blob to this address, the path appended; undefined: answers itself. */
  blobsAt: string | undefined
  /** Answers something else in place of what a request, by its path, would get. */
  tamper: ((path: string) => Buffer | 'hang' | number | undefined) | undefined
  /** Requests by method and path, in order. */
  readonly requests: string[] = []
  readonly #crane: string
  readonly #door: Server
  #process: ManagedProcess | undefined

  constructor(crane: string, port: number, portBehind: number) {
    this.#crane = crane
    this.host = `127.0.0.1:${port}`
    this.behind = `127.0.0.1:${portBehind}`
    this.chartsUrl = `http://${this.host}/charts`
    this.#door = createServer((incoming, response) => this.#answer(incoming, response))
  }

  /** What goes into `Repository.spec.url` for an artifact. */
  urlOf(name: string): string {
    return `oci+http://${this.host}/${name}`
  }

  async start(): Promise<void> {
    this.#process = startProcess({
      name: 'registry',
      command: this.#crane,
      args: ['registry', 'serve', '--address', this.behind, '--disk', this.#folderOf('blobs')],
      env: { PATH: process.env.PATH ?? '', HOME: this.folder },
    })
    const isUp = async () => (await fetch(`http://${this.behind}/v2/`).catch(() => undefined))?.ok === true
    await waitFor('the registry', isUp, { alive: [this.#process] })
    const [, port] = this.host.split(':')
    await new Promise<void>((resolve) => this.#door.listen(Number(port), '127.0.0.1', resolve))
  }

  async stop(): Promise<void> {
    this.#door.closeAllConnections()
    await new Promise<void>((resolve) => this.#door.close(() => resolve()))
    await this.#process?.stop()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  /** Publishes files under a tag, as `flux push artifact` does, and returns the digest in hexadecimal. */
  async publish(name: string, tag: string, files: PackageFiles, options: PublishOptions = {}): Promise<string> {
    const { configType = FLUX_CONFIG, layerType = FLUX_LAYER, archive = await archiveOf(files) } = options
    const config = await this.#upload(name, Buffer.from('{}'))
    const layer = await this.#upload(name, archive)
    const manifest = {
      schemaVersion: 2,
      mediaType: MANIFEST,
      config: { mediaType: configType, ...config },
      layers: [{ mediaType: layerType, ...layer }],
    }
    return await this.putManifest(name, tag, manifest)
  }

  /** Puts a manifest as it is and returns its digest in hexadecimal. */
  async putManifest(name: string, tag: string, manifest: { readonly mediaType: string }): Promise<string> {
    const body = Buffer.from(JSON.stringify(manifest))
    const headers = { 'content-type': manifest.mediaType }
    const answer = await fetch(`http://${this.behind}/v2/${name}/manifests/${tag}`, { method: 'PUT', headers, body })
    if (!answer.ok) throw new Error(`the registry refuses the manifest: ${answer.status} ${await answer.text()}`)
    return hash(body)
  }

  /** What the registry itself has at a path below a name. */
  async readJson(name: string, path: string): Promise<{ readonly mediaType: string }> {
    const headers = { accept: `${MANIFEST}, application/vnd.oci.image.index.v1+json` }
    const answer = await fetch(`http://${this.behind}/v2/${name}/${path}`, { headers })
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`)
    return (await answer.json()) as { readonly mediaType: string }
  }

  /** Packs a chart by `helm package`, and pushes it by `helm push` below a folder of the registry; returns the digest in hexadecimal. */
  async pushChart(folder: string, files: PackageFiles): Promise<string> {
    const { helm } = await ensureTools(['helm'])
    const archive = await this.#packChart(files)
    const { status, output } = await run(helm, ['push', archive, `oci://${this.behind}/${folder}`, '--plain-http'], {
      env: this.#environment(),
    })
    const digest = /sha256:([0-9a-f]{64})/.exec(output)?.[1]
    if (status !== 0 || digest === undefined) throw new Error(`helm push: ${output}`)
    return digest
  }

  /** Packs a chart and lists it in the Helm repository by `helm repo index`; returns the digest of the archive in hexadecimal. */
  async addChart(files: PackageFiles): Promise<string> {
    const { helm } = await ensureTools(['helm'])
    const archive = await this.#packChart(files)
    const charts = this.#folderOf('charts')
    cpSync(archive, path.join(charts, path.basename(archive)))
    const { status, output } = await run(helm, ['repo', 'index', charts], { env: this.#environment() })
    if (status !== 0) throw new Error(`helm repo index: ${output}`)
    return hash(readFileSync(archive))
  }

  /** The file that is the index of the Helm repository. */
  get indexFile(): string {
    return path.join(this.#folderOf('charts'), 'index.yaml')
  }

  async #packChart(files: PackageFiles): Promise<string> {
    const { helm } = await ensureTools(['helm'])
    const folder = makeRunFolder('chart')
    for (const [name, content] of Object.entries(files)) {
      mkdirSync(path.join(folder, 'chart', path.dirname(name)), { recursive: true })
      writeFileSync(path.join(folder, 'chart', name), content)
    }
    const packed = path.join(folder, 'packed')
    const args = ['package', path.join(folder, 'chart'), '--destination', packed]
    const { status, output } = await run(helm, args, { env: this.#environment() })
    const archive = /to: (.+\.tgz)/.exec(output)?.[1]
    if (status !== 0 || archive === undefined) throw new Error(`helm package: ${output}`)
    return archive
  }

  #environment(): Record<string, string> {
    return { PATH: process.env.PATH ?? '', HOME: this.folder }
  }

  #folderOf(name: string): string {
    const folder = path.join(this.folder, name)
    mkdirSync(folder, { recursive: true })
    return folder
  }

  async #upload(name: string, blob: Buffer): Promise<{ digest: string; size: number }> {
    const digest = `sha256:${hash(blob)}`
    const url = `http://${this.behind}/v2/${name}/blobs/uploads/?digest=${encodeURIComponent(digest)}`
    const answer = await fetch(url, { method: 'POST', body: blob })
    if (answer.status !== 201) throw new Error(`the registry refuses the blob: ${answer.status} ${await answer.text()}`)
    return { digest, size: blob.length }
  }

  #answer(incoming: IncomingMessage, response: ServerResponse): void {
    const url = new URL(incoming.url ?? '/', `http://${this.host}`)
    this.requests.push(`${incoming.method} ${url.pathname}`)
    const fault = this.tamper?.(url.pathname)
    if (fault === 'hang') return
    if (typeof fault === 'number') {
      response.writeHead(fault).end('no')
    } else if (url.pathname === '/token') {
      this.#giveToken(incoming, response, url)
    } else if (!this.#mayEnter(incoming)) {
      response.writeHead(401, { 'www-authenticate': this.#challenge(url) }).end('unauthorized')
    } else if (fault) {
      response.writeHead(200).end(fault)
    } else if (url.pathname.startsWith('/charts/')) {
      this.#sendChartFile(incoming, response, url.pathname.slice('/charts/'.length))
    } else if (this.blobsAt !== undefined && url.pathname.includes('/blobs/')) {
      response.writeHead(307, { location: `${this.blobsAt}${url.pathname}` }).end()
    } else {
      this.#pass(incoming, response)
    }
  }

  #mayEnter({ headers }: IncomingMessage): boolean {
    if (!this.login) return true
    const expected = this.login.kind === 'basic' ? `Basic ${this.#pair}` : `Bearer ${this.#token}`
    return headers.authorization === expected
  }

  #giveToken({ headers }: IncomingMessage, response: ServerResponse, url: URL): void {
    const isGood = headers.authorization === `Basic ${this.#pair}` && url.searchParams.get('service') === 'packages'
    response.writeHead(isGood ? 200 : 401).end(JSON.stringify({ token: this.#token, expires_in: 300 }))
  }

  #challenge({ pathname }: URL): string {
    if (this.login?.kind === 'basic') return 'Basic realm="packages"'
    const name = /^\/v2\/(.+)\/(?:manifests|blobs|tags|referrers)\//.exec(pathname)?.[1] ?? ''
    const realm = this.tokenRealm ?? `http://${this.host}/token`
    return `Bearer realm="${realm}",service="packages",scope="repository:${name}:pull,push"`
  }

  get #pair(): string {
    return Buffer.from(`${this.login?.username}:${this.login?.password}`).toString('base64')
  }

  get #token(): string {
    return hash(Buffer.from(`token of ${this.#pair}`))
  }

  #sendChartFile({ headers }: IncomingMessage, response: ServerResponse, name: string): void {
    let content: Buffer
    try {
      content = readFileSync(path.join(this.#folderOf('charts'), path.basename(name)))
    } catch {
      response.writeHead(404).end()
      return
    }
    const etag = `"${hash(content)}"`
    if (headers['if-none-match'] === etag) response.writeHead(304).end()
    else response.writeHead(200, { etag }).end(content)
  }

  #pass(incoming: IncomingMessage, response: ServerResponse): void {
    const { authorization: _ours, host: _host, ...headers } = incoming.headers
    const [hostname, port] = this.behind.split(':')
    const { method, url: target } = incoming
    const onward = request({ hostname, port, method, path: target, headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers)
      answer.pipe(response)
    })
    onward.on('error', () => response.writeHead(502).end())
    incoming.pipe(onward)
  }
}

/** A gzipped tar archive of files. */
export async function archiveOf(files: PackageFiles): Promise<Buffer> {
  const tar = pack()
  for (const [name, content] of Object.entries(files)) tar.entry({ name, mtime: new Date(0) }, content)
  tar.finalize()
  const chunks: Buffer[] = []
  for await (const chunk of tar as AsyncIterable<Buffer>) chunks.push(chunk)
  return gzipSync(Buffer.concat(chunks))
}

function hash(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}
