// Cuts a byte stream into lines without copying more than once: the frames of a watch.

const NEWLINE = 0x0a

/** Takes chunks as they come and gives back the lines they complete. */
export class LineSplitter {
  readonly #maxBytes: number
  #parts: Buffer[] = []
  #size = 0

  /** `maxBytes` bounds one line, default 64 MiB; past it `push` throws RangeError. */
  constructor(maxBytes = 64 * 1024 * 1024) {
    this.#maxBytes = maxBytes
  }

  /** Yields each completed line as text without its end; empty lines are left out. */
  *push(chunk: Buffer): Generator<string, void, undefined> {
    let start = 0
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      const line = this.#take(chunk.subarray(start, end))
      start = end + 1
      if (line !== '') yield line
    }
    if (start === chunk.length) return
    this.#size += chunk.length - start
    if (this.#size > this.#maxBytes) throw new RangeError(`a line is longer than ${this.#maxBytes} bytes`)
    this.#parts.push(chunk.subarray(start))
  }

  #take(last: Buffer): string {
    if (this.#parts.length === 0) return last.toString('utf8')
    const whole = Buffer.concat([...this.#parts, last])
    this.#parts = []
    this.#size = 0
    return whole.toString('utf8')
  }
}
