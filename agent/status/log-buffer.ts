// The last lines of the log, for a support bundle.

/** Lines, the oldest dropped first. */
export class LogBuffer {
  readonly #maxBytes: number
  readonly #lines: string[] = []
  #bytes = 0

  /** Keeps at most so many bytes, default 256 KiB. */
  constructor(maxBytes = 256 * 1024) {
    this.#maxBytes = maxBytes
  }

  /** The lines, oldest first. */
  get lines(): readonly string[] {
    return this.#lines
  }

  /** Takes a line. */
  push(line: string): void {
    const text = line.trimEnd()
    this.#lines.push(text)
    this.#bytes += text.length
    while (this.#bytes > this.#maxBytes && this.#lines.length > 1) this.#bytes -= this.#lines.shift()?.length ?? 0
  }
}
