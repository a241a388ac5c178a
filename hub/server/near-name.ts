// What somebody may have meant who mistyped a name. Pure.

/** The name that differs from what was written by case, separators or at most two letters; undefined when none does. */
export function findNear(names: readonly string[], written: string): string | undefined {
  return names.find((name) => isNear(name, written))
}

/** True when the two differ by case, separators or at most two letters. */
function isNear(name: string, written: string): boolean {
  const plain = (text: string): string => text.toLowerCase().replace(/[-_]/g, '')
  const [a, b] = [plain(name), plain(written.slice(0, 80))]
  return a === b || (a.length > 3 && editDistance(a, b) <= 2)
}

function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (let row = 1; row <= a.length; row++) {
    const current = [row]
    for (let column = 1; column <= b.length; column++) {
      const substitute = (previous[column - 1] ?? 0) + (a[row - 1] === b[column - 1] ? 0 : 1)
      current.push(Math.min(substitute, (previous[column] ?? 0) + 1, (current[column - 1] ?? 0) + 1))
    }
    previous = current
  }
  return previous[b.length] ?? 0
}
