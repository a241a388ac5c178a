// Renders files that a test writes down, by the real engine where it is needed, and says in short what came of it.
import { formatObjectReference } from '@fairlead/shared/object-reference'
import type { SkippedEntry } from '../tracker/source-tree.ts'
import { Engine } from './engine-instance.ts'
import { createEngineSource } from './engine-module.ts'
import { type RenderInputs, type RenderOptions, type RunEngine, renderApplication } from './render.ts'
import type { RenderOutcome } from './rendering.ts'

/** Files by their path in the repository. */
export type Files = Readonly<Record<string, string | Uint8Array>>

/** What was read, when these are the files of the repository and these paths were asked for. */
export function inputsOf(files: Files, read: readonly string[], skipped: readonly SkippedEntry[] = []): RenderInputs {
  return {
    read,
    files: Object.entries(files).map(([path, content]) => ({
      path,
      mode: '100644',
      bytes: typeof content === 'string' ? new TextEncoder().encode(content) : content,
    })),
    skipped,
  }
}

/** An engine of its own for a test. */
export async function createEngine(): Promise<RunEngine> {
  const engine = new Engine(await createEngineSource().get())
  return (request) => engine.render(request)
}

const noEngine: RunEngine = () => {
  throw new Error('no engine was expected to be needed')
}

/** Renders; everything that is needed counts as read. */
export function renderInputs(inputs: RenderInputs, options: RenderOptions, run: RunEngine = noEngine): RenderOutcome {
  const outcome = renderApplication(inputs, options, run)
  if ('needs' in outcome) throw new Error(`${outcome.needs.join(', ')} must be read before`)
  return outcome
}

/** `file:line kind/name` of each manifest. */
export function declared({ artifact }: Pick<RenderOutcome, 'artifact'>): string[] {
  return artifact.manifests.map(({ json, source }) => {
    const { kind, metadata } = JSON.parse(Buffer.from(json).toString())
    return `${source?.file}:${source?.line} ${kind}/${metadata.name}`
  })
}

/** `code file:line object` of each problem. */
export function refused({ problems }: Pick<RenderOutcome, 'problems'>): string[] {
  return problems.map(({ code, source, object }) =>
    [code, `${source?.file}:${source?.line}`, object && formatObjectReference(object)].filter(Boolean).join(' '),
  )
}
