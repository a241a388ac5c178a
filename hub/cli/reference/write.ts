// Writes the pages of docs/reference/ that are made from the source: node hub/cli/reference/write.ts
import { writeFile } from 'node:fs/promises'
import { renderPages } from './reference.ts'

for (const [file, text] of await renderPages()) await writeFile(file, text)
