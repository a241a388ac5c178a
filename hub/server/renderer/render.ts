// Renders plain YAML and JSON: every document of every file of a folder, in the order of files and documents.
// Pure: no file system, no network, no clock. Equal trees give equal bytes.
import { isUtf8 } from 'node:buffer'
import { create } from '@bufbuild/protobuf'
import { type ObjectReference, type Problem, ProblemSchema, SourceLocationSchema } from '@fairlead/proto/common'
import { type Artifact, ArtifactSchema, type Manifest, ManifestSchema } from '@fairlead/proto/slice'
import { canonicalJson, sha256Hex } from '@fairlead/shared/digest'
import type { ErrorCode } from '@fairlead/shared/errors'
import { objectKey } from '@fairlead/shared/object-reference'
import { isEncrypted } from '@fairlead/shared/sops'
import type { SourceFile, SourceTree } from '../tracker/source-tree.ts'
import { checkManifest, isList, itemOfList } from './manifest.ts'
import { findMalformed } from './variable-check.ts'
import { type JsonValue, readYaml, YamlError, type YamlFile } from './yaml-reader.ts'

/** Grows whenever equal inputs may give another artifact than before, so that everything is rendered again. */
export const RENDERER_VERSION = 4
/** Most objects of one application. */
export const RENDER_MAX_OBJECTS = 20_000
/** Most bytes of the rendered objects of one application, as JSON. */
export const RENDER_MAX_BYTES = 64 * 1024 * 1024
/** Largest manifest file, in bytes. */
export const RENDER_MAX_FILE_BYTES = 16 * 1024 * 1024
/** Problems that are listed one by one; more are counted. */
export const RENDER_MAX_PROBLEMS = 100

/** What a render depends on besides the files. */
export interface RenderOptions {
  /** The application's name, for messages. */
  readonly application: string
  /** Its folder or file, from the repository's root; empty for the root. */
  readonly path: string
  /** Namespace for objects that name none: only to recognise duplicates, the agent fills it in. */
  readonly namespace: string
  /** Whether agents replace variables: then malformed ones are problems. Default true. */
  readonly substitute?: boolean
}

/** What a render gives. */
export interface RenderOutcome {
  /** The good objects in the order of files and documents. */
  readonly artifact: Artifact
  /** In the same order; without `since`. */
  readonly problems: readonly Problem[]
  /** True when something that is declared may be missing from the artifact: nothing may be pruned by it. */
  readonly incomplete: boolean
}

/** Digest of everything that the outcome depends on: equal hashes need no second render. */
export function inputHash(treeOid: string, options: RenderOptions): string {
  const { application, path, namespace, substitute = true } = options
  return sha256Hex(canonicalJson({ version: RENDERER_VERSION, treeOid, application, path, namespace, substitute }))
}

/** Renders every `.yaml`, `.yml` and `.json` file of the tree; names that begin with a point are passed over. Never throws for what the files hold: that becomes problems. */
export function renderApplication(tree: SourceTree, given: RenderOptions): RenderOutcome {
  const options = { ...given, path: normalize(given.path) }
  const rendering = new Rendering(options)
  const unsupported = findUnsupportedFolders(tree.files, options.path)
  for (const [folder, file] of unsupported) rendering.refuseFolder(folder, file)
  const isCovered = (path: string): boolean => [...unsupported.keys()].some((folder) => isWithin(path, folder))
  for (const entry of tree.skipped) {
    // What is not a file may hold manifests, whatever it is called.
    const concerns =
      entry.kind === 'file' ? isManifestFile(entry.path, options.path) : !isHidden(entry.path, options.path)
    if (concerns && !isCovered(entry.path)) rendering.report(entry.code, entry.message, { file: entry.path })
  }
  const files = tree.files.filter((file) => isManifestFile(file.path, options.path) && !isCovered(file.path))
  for (const file of [...files].sort((a, b) => (a.path < b.path ? -1 : 1))) rendering.addFile(file)
  return rendering.finish()
}

/** Where a problem is. */
interface Place {
  readonly file: string
  readonly line?: number | undefined
  readonly object?: ObjectReference | undefined
}

class Rendering {
  readonly #options: RenderOptions
  readonly #manifests: Manifest[] = []
  readonly #problems: Problem[] = []
  readonly #seen = new Map<string, string>()
  #unlisted = 0
  #sizeBytes = 0
  #full = false

  constructor(options: RenderOptions) {
    this.#options = options
  }

  addFile(file: SourceFile): void {
    if (this.#full) return
    if (file.bytes.length > RENDER_MAX_FILE_BYTES) {
      const message = `the file has ${file.bytes.length} bytes; the limit is ${RENDER_MAX_FILE_BYTES}`
      this.report('LimitExceeded', message, { file: file.path })
      return
    }
    const yaml = this.#read(file)
    for (const { value, line } of yaml?.documents ?? []) {
      this.#addDocument(value, { file: file.path, line }, yaml)
    }
  }

  refuseFolder(folder: string, file: string): void {
    const tool = file.endsWith('Chart.yaml') ? 'a Helm chart' : 'a Kustomize folder'
    const where = folder === '' ? 'the root' : folder
    this.report('InvalidManifest', `${where} is ${tool}, which is not supported yet; only plain YAML and JSON are`, {
      file,
    })
  }

  report(code: ErrorCode, message: string, { file, line = 0, object }: Place): void {
    if (this.#problems.length >= RENDER_MAX_PROBLEMS) {
      this.#unlisted++
      return
    }
    const source = create(SourceLocationSchema, { file, line })
    this.#problems.push(create(ProblemSchema, { code, message, source, ...(object && { object }) }))
  }

  finish(): RenderOutcome {
    if (this.#manifests.length === 0 && this.#problems.length === 0) {
      // Emptiness is more often a mistake than a wish, and deleting everything is no answer to a mistake.
      const message = 'there are no manifests here; to remove everything, delete the application'
      this.report('InvalidManifest', message, { file: this.#options.path })
    }
    if (this.#unlisted > 0) {
      const message = `${this.#unlisted} more problems are not listed`
      this.#problems.push(create(ProblemSchema, { code: 'LimitExceeded', message }))
    }
    const artifact = create(ArtifactSchema, { manifests: this.#manifests })
    return { artifact, problems: this.#problems, incomplete: this.#problems.length > 0 }
  }

  #read(file: SourceFile): YamlFile | undefined {
    try {
      return readYaml(decodeText(file))
    } catch (error) {
      if (!(error instanceof YamlError)) throw error
      const message = error.field === '' ? error.message : `${error.field}: ${error.message}`
      this.report(error.code, message, { file: file.path, line: error.line })
      return undefined
    }
  }

  #addDocument(document: JsonValue, place: Place, yaml: YamlFile | undefined): void {
    if (isList(document) && !isEncrypted(document)) {
      for (const item of document.items ?? []) {
        const line = yaml?.lineOf(item) ?? place.line
        this.#addDocument(itemOfList(document, item), { ...place, line }, yaml)
      }
      return
    }
    const { substitute = true } = this.#options
    const check = checkManifest(document, { substitute })
    if ('faults' in check) {
      for (const { code, message } of check.faults) this.report(code, message, { ...place, object: check.reference })
      return
    }
    const { object, reference } = check
    const malformed = substitute ? findMalformed(document, yaml) : []
    if (malformed.length > 0) {
      for (const { message, line = place.line } of malformed) {
        this.report('UnknownVariable', message, { ...place, line, object: reference })
      }
      return
    }
    const key = objectKey({ ...reference, namespace: reference.namespace || this.#options.namespace })
    const first = this.#seen.get(key)
    if (first !== undefined) {
      this.report('DuplicateObject', `declared before, in ${first}`, { ...place, object: reference })
      return
    }
    this.#seen.set(key, `${place.file} line ${place.line}`)
    const json = isEncrypted(object) && yaml ? yaml.stringify(object) : JSON.stringify(object)
    this.#addManifest(Buffer.from(json), place, reference)
  }

  #addManifest(json: Uint8Array, place: Place, object: ObjectReference): void {
    if (this.#full) return
    this.#sizeBytes += json.length
    if (this.#manifests.length >= RENDER_MAX_OBJECTS || this.#sizeBytes > RENDER_MAX_BYTES) {
      this.#full = true
      const message = `the application has more than ${RENDER_MAX_OBJECTS} objects or ${RENDER_MAX_BYTES} bytes; the rest is left out`
      this.report('LimitExceeded', message, { ...place, object })
      return
    }
    const source = create(SourceLocationSchema, { file: place.file, line: place.line ?? 0 })
    this.#manifests.push(create(ManifestSchema, { json, source }))
  }
}

function decodeText(file: SourceFile): string {
  try {
    // A copy: a decoder does not read shared memory.
    return new TextDecoder('utf-8', { fatal: true }).decode(new Uint8Array(file.bytes))
  } catch {
    throw new YamlError('InvalidYaml', 'the file is not UTF-8 text', { line: findBrokenLine(Buffer.from(file.bytes)) })
  }
}

/** The first line, counted from 1, that is not UTF-8. */
function findBrokenLine(bytes: Buffer): number {
  let line = 1
  for (let start = 0; start < bytes.length; line++) {
    const end = bytes.indexOf(0x0a, start)
    if (!isUtf8(bytes.subarray(start, end < 0 ? bytes.length : end)) || end < 0) break
    start = end + 1
  }
  return line
}

/** Folders that another tool must render, each with the file that says so; folders inside such a folder are left out. */
function findUnsupportedFolders(files: readonly SourceFile[], root: string): Map<string, string> {
  const found = new Map<string, string>()
  for (const { path } of files) {
    const slash = path.lastIndexOf('/')
    const name = path.slice(slash + 1)
    const isNamed = path === root
    if (!isNamed && /^(?:kustomization\.ya?ml|Kustomization|Chart\.yaml)$/.test(name)) {
      found.set(slash < 0 ? '' : path.slice(0, slash), path)
    }
  }
  for (const folder of [...found.keys()].sort()) {
    for (const other of found.keys()) if (other !== folder && isWithin(other, folder)) found.delete(other)
  }
  return found
}

/** As the tracker writes paths: without leading `./` and spare slashes. */
function normalize(path: string): string {
  return path
    .split('/')
    .filter((part) => part !== '' && part !== '.')
    .join('/')
}

function isWithin(path: string, folder: string): boolean {
  return folder === '' || path === folder || path.startsWith(`${folder}/`)
}

function isManifestFile(path: string, root: string): boolean {
  return path === root || (/\.(?:ya?ml|json)$/.test(path) && !isHidden(path, root))
}

/** True when a part of the path below the application's begins with a point, as in `.github`. */
function isHidden(path: string, root: string): boolean {
  const below = path === root ? '' : root === '' ? path : path.slice(root.length + 1)
  return below.split('/').some((part) => part.startsWith('.'))
}
