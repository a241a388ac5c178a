// Writes a tar archive (POSIX ustar) of a few small files in memory.

const BLOCK = 512

/** One file. */
export interface TarFile {
  /** At most 100 bytes. */
  readonly name: string
  readonly content: string
}

/** The archive. Throws RangeError for a name that is too long. */
export function createTar(files: readonly TarFile[], modifiedAt: Date): Buffer {
  const parts: Buffer[] = []
  for (const { name, content } of files) {
    const body = Buffer.from(content)
    parts.push(header(name, body.length, modifiedAt), body, Buffer.alloc((BLOCK - (body.length % BLOCK)) % BLOCK))
  }
  // The end: two empty blocks.
  return Buffer.concat([...parts, Buffer.alloc(2 * BLOCK)])
}

function header(name: string, sizeBytes: number, modifiedAt: Date): Buffer {
  const block = Buffer.alloc(BLOCK)
  if (Buffer.byteLength(name) > 100) throw new RangeError(`the name ${name} is too long`)
  const octal = (value: number, width: number): string => `${value.toString(8).padStart(width - 1, '0')}\0`
  block.write(name, 0)
  block.write(octal(0o600, 8), 100)
  block.write(octal(0, 8), 108)
  block.write(octal(0, 8), 116)
  block.write(octal(sizeBytes, 12), 124)
  block.write(octal(Math.floor(modifiedAt.getTime() / 1000), 12), 136)
  // The checksum is counted with blanks in its place.
  block.write('        ', 148)
  block.write('0', 156)
  block.write('ustar\x0000', 257)
  const sum = block.reduce((total, byte) => total + byte, 0)
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148)
  return block
}
