// Where the objects that Kustomize made stand in Git, and SOPS's encrypted ones as they stand there: their MAC covers every
// value in the order of the file, which Kustomize does not keep.
import { canonicalJson } from '@fairlead/shared/digest'
import { isEncrypted } from '@fairlead/shared/sops'
import type { SourceFile } from '../tracker/source-tree.ts'
import { isObject } from './manifest.ts'
import type { Adapt } from './rendering.ts'
import { type JsonObject, type JsonValue, readYaml, YamlError, type YamlFile } from './yaml-reader.ts'

const CHANGED =
  'Kustomize changes this encrypted manifest, which nobody could decrypt then; write namespace, names and labels into the file before it is encrypted'

/** Finds the documents that Kustomize started from. */
export class KustomizeOrigins {
  readonly #files: ReadonlyMap<string, SourceFile>
  readonly #read = new Map<string, YamlFile | undefined>()

  constructor(files: readonly SourceFile[]) {
    this.#files = new Map(files.map((file) => [file.path, file]))
  }

  /** Takes an object with the line of its source; an encrypted one as it stands there, if Kustomize left it alone. */
  adapt(document: JsonValue, path: string): ReturnType<Adapt> {
    if (!isObject(document)) return { document }
    const yaml = this.#readFile(path)
    if (isEncrypted(document)) {
      const wanted = canonicalJson(document)
      const original = yaml?.documents.find(({ value }) => canonicalJson(value) === wanted)
      if (original) return { document: original.value, yaml, line: original.line }
      return { fault: CHANGED }
    }
    const line = yaml && findLine(yaml, document)
    return line === undefined ? { document } : { document, line }
  }

  #readFile(path: string): YamlFile | undefined {
    if (this.#read.has(path)) return this.#read.get(path)
    const file = this.#files.get(path)
    const yaml = file && tryReadYaml(file.bytes)
    this.#read.set(path, yaml)
    return yaml
  }
}

function tryReadYaml(bytes: Uint8Array): YamlFile | undefined {
  try {
    return readYaml(Buffer.from(bytes).toString('utf8'))
  } catch (error) {
    if (error instanceof YamlError) return undefined
    throw error
  }
}

/** The line of the one document of that kind; of several, of the one whose name the object's is made of. */
function findLine(yaml: YamlFile, object: JsonObject): number | undefined {
  const alike = yaml.documents.filter(({ value }) => isObject(value) && value.kind === object.kind)
  if (alike.length === 1) return alike[0]?.line
  const name = nameOf(object)
  const candidates = alike.filter(({ value }) => name.includes(nameOf(value)))
  return candidates.sort((a, b) => nameOf(b.value).length - nameOf(a.value).length)[0]?.line
}

function nameOf(object: JsonValue): string {
  const metadata = isObject(object) && isObject(object.metadata) ? object.metadata : {}
  return typeof metadata.name === 'string' ? metadata.name : ''
}
