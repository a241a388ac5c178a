// Files that only the hub's user may read: keys, credentials, the administrator's context. A crash leaves the old file or
// the new one, never half of one.
import { randomBytes } from 'node:crypto'
import { mkdir, open, readFile, rename, rm } from 'node:fs/promises'
import path from 'node:path'

/** Writes a file atomically and onto the disk. `mode` defaults to 0600, its folder is made with 0700. */
export async function writeSecretFile(file: string, content: string | Uint8Array, mode = 0o600): Promise<void> {
  await mkdir(path.dirname(file), { recursive: true, mode: 0o700 })
  const temporary = `${file}.${randomBytes(6).toString('hex')}.tmp`
  try {
    const handle = await open(temporary, 'wx', mode)
    try {
      await handle.writeFile(content)
      await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(temporary, file)
  } catch (error) {
    await rm(temporary, { force: true })
    throw error
  }
  await syncFolder(path.dirname(file))
}

/** The text of a file; undefined when there is none. */
export async function findFile(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

/** The text of a file, which is made with mode 0600 when there is none. */
export async function keepSecretFile(file: string, make: () => string | Promise<string>): Promise<string> {
  const kept = await findFile(file)
  if (kept !== undefined) return kept
  const content = await make()
  await writeSecretFile(file, content)
  return content
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
