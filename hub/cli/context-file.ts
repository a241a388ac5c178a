// The file that holds the hubs a person works with: address, CA and token of each. Only its owner may read it.
import { chmod, mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { AppError } from '@fairlead/shared/errors'
import { dump, load } from 'js-yaml'
import { z } from 'zod'

const contextSchema = z.looseObject({
  name: z.string().min(1),
  address: z.string().min(1),
  caPem: z.string().default(''),
  token: z.string().default(''),
})

const contextFileSchema = z.looseObject({
  currentContext: z.string().default(''),
  contexts: z.array(contextSchema).default([]),
})

/** How to reach one hub: host:port of its API, PEM of its CA, bearer token. */
export type Context = z.infer<typeof contextSchema>

/** All contexts and the name of the one in use; empty when none was chosen. */
export type ContextFile = z.infer<typeof contextFileSchema>

/** Reads the file; a missing one has no contexts. Throws InvalidArgument for a file that cannot be understood. */
export async function readContextFile(file: string): Promise<ContextFile> {
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw new AppError('InvalidArgument', `cannot read the context file ${file}: ${error.message}`, { cause: error })
  })
  if (text === undefined || text.trim() === '') return { currentContext: '', contexts: [] }
  try {
    return contextFileSchema.parse(load(text))
  } catch (error) {
    const reason = error instanceof z.ZodError ? z.prettifyError(error) : String((error as Error).message)
    throw new AppError('InvalidArgument', `the context file ${file} is not valid: ${reason}`, { cause: error })
  }
}

/** Writes the file with mode 0600 in one step, so that a crash leaves the old one. */
export async function writeContextFile(file: string, contexts: ContextFile): Promise<void> {
  await mkdir(path.dirname(file), { recursive: true, mode: 0o700 })
  const temporary = `${file}.${process.pid}.tmp`
  await writeFile(temporary, dump(contexts), { mode: 0o600 })
  await chmod(temporary, 0o600)
  await rename(temporary, file)
}

/** The context of that name, or the current one. Throws InvalidArgument that says what to do when there is none. */
export function selectContext(
  contexts: ContextFile,
  { name, file }: { name?: string | undefined; file: string },
): Context {
  const wanted = name ?? contexts.currentContext
  const only = contexts.contexts.length === 1 && wanted === '' ? contexts.contexts[0] : undefined
  const found = only ?? contexts.contexts.find((context) => context.name === wanted)
  if (found) return found
  if (contexts.contexts.length === 0) {
    throw new AppError(
      'InvalidArgument',
      `no hub is known: ${file} holds no context. \`fairlead hub\` writes one on its first start; ` +
        'for a hub elsewhere: fairlead context set NAME --address HOST:PORT --ca-file CA.crt --token-file TOKEN',
    )
  }
  const names = contexts.contexts.map((context) => context.name).join(', ')
  const problem = wanted === '' ? 'no context is chosen' : `there is no context "${wanted}"`
  throw new AppError('InvalidArgument', `${problem} in ${file}; it holds ${names}`)
}
