// Takes a signed commit or tag apart, byte for byte as Git does (gitformat-signature). Pure. Not by isomorphic-git, whose
// payload is wrong for SSH signatures, and which decodes what must be left as it is.

/** What was signed, and the armoured signature. */
export interface SignedParts {
  readonly payload: Buffer
  readonly signature: string
}

const SIGNATURE_HEADERS: readonly string[] = ['gpgsig', 'gpgsig-sha256']
const TAG_SIGNATURE = /^-----BEGIN (?:PGP SIGNATURE|PGP MESSAGE|SSH SIGNATURE)-----$/

/** Undefined when the commit is not signed, or in a way that could be read in two ways. */
export function splitSignedCommit(commit: Buffer): SignedParts | undefined {
  const { payload, signatures } = takeSignaturesOut(commit)
  const [signature, ...others] = signatures
  return signature === undefined || others.length > 0 ? undefined : { payload, signature }
}

/** Undefined when the tag is not signed. */
export function splitSignedTag(tag: Buffer): SignedParts | undefined {
  let start: number | undefined
  for (const { text, from } of linesOf(tag)) if (TAG_SIGNATURE.test(text.trimEnd())) start = from
  if (start === undefined) return undefined
  return { payload: takeSignaturesOut(tag.subarray(0, start)).payload, signature: tag.toString('latin1', start) }
}

/** Of what was signed: the name that a tag gives itself, and when it was made, in seconds since the epoch; of a commit, when it was committed. Nothing that the signature does not cover may be given here: it says what anybody likes. */
export function readSignedFacts(payload: Buffer): { readonly tagName: string | undefined; readonly timeS: number } {
  const end = payload.indexOf('\n\n')
  // Lines end as Git ends them; to a regular expression other characters end them too.
  const lines = payload.toString('utf8', 0, end < 0 ? payload.length : end).split('\n')
  const person = lines.find((line) => /^(?:committer|tagger) /.test(line)) ?? ''
  return {
    tagName: lines.find((line) => line.startsWith('tag '))?.slice('tag '.length),
    timeS: Number(/> (\d{1,12}) [+-]\d{4}$/.exec(person)?.[1] ?? 0),
  }
}

function takeSignaturesOut(object: Buffer): { payload: Buffer; signatures: string[] } {
  const kept: Buffer[] = []
  const signatures: string[] = []
  let isInSignature = false
  let isHeader = true
  for (const { text, from, to } of linesOf(object)) {
    if (text === '') isHeader = false
    if (isHeader && isInSignature && text.startsWith(' ')) {
      signatures.push(`${signatures.pop() ?? ''}${text.slice(1)}\n`)
      continue
    }
    const [name = '', ...rest] = text.split(' ')
    isInSignature = isHeader && SIGNATURE_HEADERS.includes(name)
    if (isInSignature) signatures.push(`${rest.join(' ')}\n`)
    else kept.push(object.subarray(from, to))
  }
  return { payload: Buffer.concat(kept), signatures }
}

function* linesOf(bytes: Buffer): Generator<{ text: string; from: number; to: number }> {
  for (let from = 0; from < bytes.length; ) {
    const newline = bytes.indexOf(0x0a, from)
    const to = newline < 0 ? bytes.length : newline + 1
    yield { text: bytes.toString('latin1', from, newline < 0 ? to : newline), from, to }
    from = to
  }
}
