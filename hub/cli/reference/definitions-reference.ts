// docs/reference/definitions.md, made from the comments of proto/fairlead/v1: what users write and what the hub says of it.
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import type { DescField, DescMessage } from '@bufbuild/protobuf'
import { ProblemSchema, RevisionSchema } from '@fairlead/proto/common'
import { ApplicationSchema, ClusterDefinitionSchema, RepositorySchema } from '@fairlead/proto/definitions'

const INTRODUCTION = `# Definitions

<!-- Made by hub/cli/reference/write.ts out of the comments in proto/fairlead/v1; run: node hub/cli/reference/write.ts -->

Two kinds of documents, given to \`fairlead apply -f\` or kept [in a repository that the hub follows](../user/definitions-from-git.md), and a third, Cluster, for the latter only. They are the JSON form of the messages in
\`proto/fairlead/v1/definitions.proto\`, written as YAML. Unknown fields are refused, with file and line. Durations are
written as \`30s\`, \`5m\` or \`24h\`. \`metadata.uid\`, \`metadata.generation\`, \`metadata.createdAt\`, \`metadata.owner\`, \`metadata.origin\` and \`status\` are the hub's: it fills them in, users leave them out.

\`\`\`yaml
apiVersion: fairlead.dev/v1alpha1
kind: Repository
metadata:
  name: shop
spec:
  url: https://git.example.com/shop.git
  pollInterval: 30s
  credentials:
    from: file:/etc/fairlead/shop-token
---
apiVersion: fairlead.dev/v1alpha1
kind: Application
metadata:
  name: web
  labels: {team: shop}
spec:
  source: {repository: shop, ref: main, path: deploy/web}
  placement:
    clusters:
      matchLabels: {env: prod}
  namespace: shop
  sync: {prune: true, remediate: true, adopt: always}
\`\`\`
`

/** Documents whose kind is not the name of their message. */
const KINDS: ReadonlyMap<DescMessage, string> = new Map([[ClusterDefinitionSchema, 'Cluster']])

/** Messages that appear in many places and have a section of their own. */
const WORDS: readonly DescMessage[] = [ProblemSchema, RevisionSchema]

/** The whole page. Throws when a field or message that is reachable has no comment. */
export async function renderDefinitionsReference(protoFolder: string): Promise<string> {
  const comments = await readComments(protoFolder)
  const pages = [RepositorySchema, ApplicationSchema, ClusterDefinitionSchema, ...WORDS].map((root) =>
    renderKind(root, comments),
  )
  return [INTRODUCTION, ...pages].join('\n')
}

function renderKind(root: DescMessage, comments: ReadonlyMap<string, string>): string {
  const rows = fieldRows(root, '', comments)
  return [
    `## ${KINDS.get(root) ?? root.name}`,
    '',
    getComment(comments, root.name),
    '',
    '| field | type | |',
    '|---|---|---|',
    ...rows.map(({ name, type, text }) => `| \`${name}\` | ${type} | ${text} |`),
    '',
  ].join('\n')
}

interface FieldRow {
  readonly name: string
  readonly type: string
  readonly text: string
}

/** Every field below a message, depth first, by its path in YAML. */
function fieldRows(message: DescMessage, prefix: string, comments: ReadonlyMap<string, string>): FieldRow[] {
  return message.fields.flatMap((field) => {
    const name = `${prefix}${field.jsonName}${field.fieldKind === 'list' ? '[]' : ''}`
    const inner = innerMessage(field)
    // What a message says beyond its first sentence holds for the field too: "Exactly one of the two is given."
    const rules = inner ? getComment(comments, inner.name).replace(/^.*?[.](?: |$)/, '') : ''
    const comment = `${getComment(comments, `${message.name}.${field.name}`)} ${rules}`.trim()
    const row = { name, type: typeOf(field), text: comment.replaceAll('|', '\\|').replaceAll('<', '&lt;') }
    return inner ? [row, ...fieldRows(inner, `${name}.`, comments)] : [row]
  })
}

/** The message of a field, except for those that are written as one word or have a section of their own. */
function innerMessage(field: DescField): DescMessage | undefined {
  const message = field.fieldKind === 'message' ? field.message : field.fieldKind === 'list' ? field.message : undefined
  const isApart = message && (message.typeName.startsWith('google.protobuf.') || WORDS.includes(message))
  return isApart ? undefined : message
}

function typeOf(field: DescField): string {
  if (field.fieldKind === 'map') return 'map of strings'
  const message = field.fieldKind === 'message' || field.fieldKind === 'list' ? field.message : undefined
  if (message?.typeName === 'google.protobuf.Duration') return 'duration'
  if (message?.typeName === 'google.protobuf.Timestamp') return 'time'
  if (message?.typeName === 'google.protobuf.Struct') return 'mapping'
  if (message && WORDS.includes(message)) {
    return `${field.fieldKind === 'list' ? 'list of ' : ''}[${message.name}](#${message.name.toLowerCase()})`
  }
  if (field.fieldKind === 'list') return message ? 'list' : 'list of strings'
  if (message) return 'object'
  if (field.fieldKind === 'enum') return 'word'
  return field.fieldKind === 'scalar' ? scalarWord(field.scalar) : 'object'
}

/** Numbers of google.protobuf.FieldDescriptorProto.Type: 8 is bool, 9 is string, the rest are numbers here. */
function scalarWord(scalar: number): string {
  return scalar === 8 ? 'true or false' : scalar === 9 ? 'string' : 'number'
}

function getComment(comments: ReadonlyMap<string, string>, name: string): string {
  const comment = comments.get(name)
  if (comment === undefined || comment === '') throw new Error(`${name} has no comment in its .proto file`)
  return comment
}

/** Comments by `Message` and `Message.field`, of every .proto file in the folder. */
async function readComments(folder: string): Promise<Map<string, string>> {
  const comments = new Map<string, string>()
  for (const file of ['common', 'definitions']) {
    collectComments(await readFile(path.join(folder, `${file}.proto`), 'utf8'), comments)
  }
  return comments
}

/** The files are formatted by buf: a comment is the lines of // right above what it is about, and no message is nested. */
function collectComments(source: string, comments: Map<string, string>): void {
  let pending: string[] = []
  let message = ''
  for (const line of source.split('\n')) {
    const comment = line.match(/^\s*\/\/ ?(.*)$/)?.[1]
    const opened = line.match(/^message (\w+) \{/)?.[1]
    const field = line.match(/^ {2}(?:repeated |optional )?[\w.<>, ]+ (\w+) = \d+/)?.[1]
    if (comment !== undefined) {
      pending.push(comment)
      continue
    }
    if (opened) message = opened
    const name = opened ?? (field && message !== '' ? `${message}.${field}` : undefined)
    if (name) comments.set(name, pending.join(' '))
    pending = []
  }
}
