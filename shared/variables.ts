// The variables that manifests may use: ${cluster.name}, ${cluster.labels.<key>} and ${cluster.values.<key>}. Every other
// ${...} is somebody else's, a shell's or a dashboard's, and stays as it is.

/** A variable as it stands in a text. */
export interface VariableUse {
  /** Without `${` and `}`, such as `cluster.labels.region`; what could be read of it when it is malformed. */
  readonly name: string
  /** Why it is not a variable; undefined when it is. */
  readonly fault: string | undefined
}

// With a further dollar it is meant literally. Without an end it is malformed: no shell has names with points.
const USE = /(\$?)\$\{(cluster\.[^}\n]*)(\}?)/g
// The form of a label key: an optional DNS name and a slash, then a name.
const KEY = /^(?:[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?\/)?[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/
const SHOWN_CHARACTERS = 80

/** True when a text may hold a variable; most texts do not, and this is quick to tell. */
export function mayHoldVariables(text: string): boolean {
  return text.includes('${cluster.')
}

/**
 * The text with each variable replaced by what `replace` gives for it; `$${cluster.` becomes `${cluster.`. What is put in
 * is not looked at again.
 */
export function replaceVariables(text: string, replace: (use: VariableUse) => string): string {
  if (!mayHoldVariables(text)) return text
  return text.replace(USE, (whole: string, dollar: string, name: string, end: string) =>
    dollar === '' ? replace({ name, fault: findFault(name, end) }) : whole.slice(1),
  )
}

/** The malformed variables of a text, in order. */
export function findMalformedVariables(text: string): VariableUse[] {
  const found: VariableUse[] = []
  replaceVariables(text, (use) => {
    if (use.fault !== undefined) found.push(use)
    return ''
  })
  return found
}

function findFault(name: string, end: string): string | undefined {
  const shown = `\${${name.slice(0, SHOWN_CHARACTERS)}${end}`
  if (end === '') return `${shown} has no closing brace`
  if (name === 'cluster.name') return undefined
  const [root, key] = splitName(name)
  if (root !== 'labels' && root !== 'values') {
    return `${shown} is no variable: there are cluster.name, cluster.labels.<key> and cluster.values.<key>; write $${shown} to keep the text as it is`
  }
  return KEY.test(key) ? undefined : `${shown} names no key: a key has the form of a label's`
}

/** `cluster.labels.a.b` is ['labels', 'a.b']. */
function splitName(name: string): [root: string, key: string] {
  const rest = name.slice('cluster.'.length)
  const point = rest.indexOf('.')
  return point < 0 ? [rest, ''] : [rest.slice(0, point), rest.slice(point + 1)]
}
