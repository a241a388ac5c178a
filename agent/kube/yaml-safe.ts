// JSON that YAML reads as JSON would. API servers read the body of an apply as YAML, which refuses some characters that JSON
// takes as they are, and takes others for ends of lines, so that texts would be changed on the way.
import type { JsonBody } from './kube.ts'

// DEL and C1 controls, NEL among them; line and paragraph separator; byte order mark and what is no character.
const UNSAFE = /[\u007f-\u009f\u2028\u2029\ufeff\ufffe\uffff]/g
/** How such characters may begin in UTF-8; most bodies hold none of these bytes. */
const SIGNS = [Buffer.from([0x7f]), Buffer.from([0xc2]), Buffer.from([0xe2, 0x80]), Buffer.from([0xef])]

/** The same JSON with every such character escaped; the body itself when it has none. */
export function yamlSafe(body: JsonBody): JsonBody {
  if (body instanceof Uint8Array) {
    const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength)
    return SIGNS.some((sign) => bytes.includes(sign)) ? escapeUnsafe(bytes.toString('utf8')) : body
  }
  return escapeUnsafe(typeof body === 'string' ? body : JSON.stringify(body))
}

function escapeUnsafe(json: string): string {
  return json.replace(UNSAFE, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`)
}
