// Collects the objects of one render, whoever wrote the text that they are in: checks each, refuses duplicates, keeps to the
// limits, and tells every problem with its place.
import { isUtf8 } from 'node:buffer'
import { create } from '@bufbuild/protobuf'
import { type ObjectReference, type Problem, ProblemSchema, SourceLocationSchema } from '@fairlead/proto/common'
import { type Artifact, ArtifactSchema, type Manifest, ManifestSchema } from '@fairlead/proto/slice'
import type { ErrorCode } from '@fairlead/shared/errors'
import { objectKey } from '@fairlead/shared/object-reference'
import { isEncrypted } from '@fairlead/shared/sops'
import { checkManifest, findReference, isList, itemOfList } from './manifest.ts'
import { findMalformed } from './variable-check.ts'
import { type JsonValue, readYaml, YamlError, type YamlFile } from './yaml-reader.ts'

/** Most objects of one application. */
export const RENDER_MAX_OBJECTS = 20_000
/** Most bytes of the rendered objects of one application, as JSON. */
export const RENDER_MAX_BYTES = 64 * 1024 * 1024
/** Largest manifest file, in bytes. */
export const RENDER_MAX_FILE_BYTES = 16 * 1024 * 1024
/** Problems that are listed one by one; more are counted. */
export const RENDER_MAX_PROBLEMS = 100

/** What a render gives. */
export interface RenderOutcome {
  /** The good objects in the order of files and documents. */
  readonly artifact: Artifact
  /** In the same order; without `since`. */
  readonly problems: readonly Problem[]
  /** True when something that is declared may be missing from the artifact: nothing may be pruned by it. */
  readonly incomplete: boolean
}

/** A text of YAML or JSON documents. */
export interface TextFile {
  /** Where in Git it, or what it was made from, is. */
  readonly path: string
  readonly bytes: Uint8Array
}

/** A document that another tool made, as it is taken. */
export interface MadeDocument {
  readonly document: JsonValue
  /** The file that the document is of, where that is not the text that was made. */
  readonly yaml?: YamlFile | undefined
  /** Line of its source, counted from 1. */
  readonly line?: number | undefined
}

/** Looks at a document that another tool made of the file at `path`: how it is taken, what is wrong with it, or why it is left out; undefined leaves it out without a word. */
export type Adapt = (
  document: JsonValue,
  path: string,
) => MadeDocument | { readonly fault: string } | { readonly leftOut: string } | undefined

/** What a rendering depends on. */
export interface RenderingOptions {
  /** The application's folder, for messages. */
  readonly path: string
  /** Namespace for objects that name none: only to recognise duplicates. */
  readonly namespace: string
  /** Whether agents replace variables: then malformed ones are problems. Default true. */
  readonly substitute?: boolean
}

/** Where a problem is. */
interface Place {
  readonly file: string
  readonly line?: number | undefined
  readonly object?: ObjectReference | undefined
}

/** Where a document comes from. */
interface DocumentSource {
  readonly yaml: YamlFile | undefined
  readonly adapt?: Adapt
}

/** The render of one application while it is made. */
export class Rendering {
  readonly #options: RenderingOptions
  readonly #manifests: Manifest[] = []
  readonly #problems: Problem[] = []
  readonly #seen = new Map<string, string>()
  #unlisted = 0
  #sizeBytes = 0
  #full = false
  #isIncomplete = false

  constructor(options: RenderingOptions) {
    this.#options = options
  }

  /** Takes every document of a file of the repository. */
  addFile(file: TextFile): void {
    const yaml = this.#read(file, (line) => ({ line, where: '' }))
    for (const { value, line } of yaml?.documents ?? []) {
      this.#addDocument(value, { file: file.path, line }, { yaml })
    }
  }

  /** Takes every document of a text that another tool made of the file at its path. Lines of the text are none of that file. */
  addMade(file: TextFile, adapt: Adapt): void {
    const made = this.#read(file, (line) => ({ line: 0, where: ` (line ${line} of what is rendered)` }))
    const yaml = made && { ...made, lineOf: () => undefined, lineOfPart: () => undefined }
    for (const { value } of made?.documents ?? []) this.#addDocument(value, { file: file.path }, { yaml, adapt })
  }

  /** Something that is declared and cannot be taken. */
  report(code: ErrorCode, message: string, place: Place): void {
    this.#isIncomplete = true
    this.remark(code, message, place)
  }

  /** Something that people should know of, though nothing is missing for it. */
  remark(code: ErrorCode, message: string, { file, line = 0, object }: Place): void {
    if (this.#problems.length >= RENDER_MAX_PROBLEMS) {
      this.#unlisted++
      return
    }
    const source = create(SourceLocationSchema, { file, line })
    this.#problems.push(create(ProblemSchema, { code, message, source, ...(object && { object }) }))
  }

  /** What came of it. */
  finish(): RenderOutcome {
    if (this.#manifests.length === 0 && !this.#isIncomplete) {
      // Emptiness is more often a mistake than a wish, and deleting everything is no answer to a mistake.
      const message = 'there are no manifests here; to remove everything, delete the application'
      this.report('InvalidManifest', message, { file: this.#options.path })
    }
    if (this.#unlisted > 0) {
      const message = `${this.#unlisted} more problems are not listed`
      this.#problems.push(create(ProblemSchema, { code: 'LimitExceeded', message }))
    }
    const artifact = create(ArtifactSchema, { manifests: this.#manifests })
    return { artifact, problems: this.#problems, incomplete: this.#isIncomplete }
  }

  #read(
    file: TextFile,
    locate: (line: number) => { readonly line: number; readonly where: string },
  ): YamlFile | undefined {
    if (this.#full) return undefined
    if (file.bytes.length > RENDER_MAX_FILE_BYTES) {
      const message = `the file has ${file.bytes.length} bytes; the limit is ${RENDER_MAX_FILE_BYTES}`
      this.report('LimitExceeded', message, { file: file.path })
      return undefined
    }
    try {
      return readYaml(decodeText(file.bytes))
    } catch (error) {
      if (!(error instanceof YamlError)) throw error
      const { line, where } = locate(error.line)
      const message = `${error.field === '' ? '' : `${error.field}: `}${error.message}${where}`
      this.report(error.code, message, { file: file.path, line })
      return undefined
    }
  }

  #addDocument(document: JsonValue, place: Place, from: DocumentSource): void {
    const { yaml, adapt } = from
    if (isList(document) && !isEncrypted(document)) {
      for (const item of document.items ?? []) {
        const line = yaml?.lineOf(item) ?? place.line
        this.#addDocument(itemOfList(document, item), { ...place, line }, from)
      }
      return
    }
    if (adapt) this.#addAdapted(adapt(document, place.file), place, { document, yaml })
    else this.#addObject(document, place, yaml)
  }

  #addAdapted(
    adapted: ReturnType<Adapt>,
    place: Place,
    made: { readonly document: JsonValue; readonly yaml: YamlFile | undefined },
  ): void {
    if (adapted === undefined) return
    const object = findReference(made.document)
    if ('fault' in adapted) this.report('InvalidManifest', adapted.fault, { ...place, object })
    else if ('leftOut' in adapted) this.remark('InvalidManifest', adapted.leftOut, { ...place, object })
    else this.#addObject(adapted.document, { ...place, line: adapted.line }, adapted.yaml ?? made.yaml)
  }

  #addObject(document: JsonValue, place: Place, yaml: YamlFile | undefined): void {
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
    this.#seen.set(key, place.line ? `${place.file} line ${place.line}` : place.file)
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

function decodeText(bytes: Uint8Array): string {
  try {
    // A copy: a decoder does not read shared memory.
    return new TextDecoder('utf-8', { fatal: true }).decode(new Uint8Array(bytes))
  } catch {
    throw new YamlError('InvalidYaml', 'the file is not UTF-8 text', { line: findBrokenLine(Buffer.from(bytes)) })
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
