// What a delivery says, in the words of each Git host. Pure. Nothing of it is believed: it only tells where to look.

import { addressKey } from '../repository-address.ts'
import type { PushedRef } from '../tracker/pushed-refs.ts'
import { type RawDelivery, textOf } from './signature.ts'

/** What a delivery says. */
export interface Delivery {
  /** The host's id of it; empty when it gives none. */
  readonly id: string
  /** False for what moves no ref, for example a ping or a comment. */
  readonly isPush: boolean
  /** Addresses of the repository, as addressKey writes them. */
  readonly addresses: readonly string[]
  /** The end of the path of its addresses, where the host gives no address; empty otherwise. */
  readonly pathEnd: string
  readonly pushed: readonly PushedRef[]
}

type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json }

const MAX_REFS = 100
const ID_HEADERS = [
  'x-github-delivery',
  'x-gitea-delivery',
  'x-forgejo-delivery',
  'x-gitlab-event-uuid',
  'x-request-uuid',
  'x-request-id',
  'webhook-id',
] as const
const EVENT_HEADERS = ['x-gitlab-event', 'x-gitea-event', 'x-forgejo-event', 'x-event-key', 'x-github-event'] as const
/** Events that move a ref, in the words of all hosts; GitLab's system hooks say it in the body. */
const PUSH_EVENTS =
  /^(push|create|delete|release|pull_request|pull_request_sync|repo:push|repo:refs_changed|pr:.*|pullrequest:.*|(push|tag push|merge request) hook)$/i
const PUSH_SYSTEM_EVENTS: readonly string[] = ['push', 'tag_push', 'repository_update', 'merge_request']

/** What a delivery says; undefined when its body is not JSON, plain or as GitHub's form. An empty body is a push of anything. */
export function readDelivery({ headers, body }: RawDelivery): Delivery | undefined {
  const json = parseBody(headers['content-type'] ?? '', body.toString('utf8'))
  if (json === undefined) return undefined
  const repository = at(json, 'repository')
  return {
    id: ID_HEADERS.map((name) => textOf(headers, name)).find((id) => id !== '') ?? '',
    isPush: isPush(
      EVENT_HEADERS.map((name) => textOf(headers, name)).find((event) => event !== ''),
      json,
    ),
    addresses: findAddresses(json),
    pathEnd: bitbucketServerPath(repository),
    pushed: findPushed(json).slice(0, MAX_REFS),
  }
}

function parseBody(contentType: string, text: string): Json | undefined {
  const isForm = contentType.startsWith('application/x-www-form-urlencoded')
  const json = isForm ? (new URLSearchParams(text).get('payload') ?? '') : text
  if (json.trim() === '') return {}
  try {
    return JSON.parse(json)
  } catch {
    return undefined
  }
}

/** Without a word of the event it may be anything. */
function isPush(event: string | undefined, json: Json): boolean {
  if (event === undefined) return true
  if (event === 'System Hook') return PUSH_SYSTEM_EVENTS.includes(text(json, 'event_name') || text(json, 'object_kind'))
  return PUSH_EVENTS.test(event)
}

function findAddresses(json: Json): string[] {
  const places = [json, at(json, 'repository'), at(json, 'project')]
  const names = [
    'clone_url',
    'ssh_url',
    'git_url',
    'html_url',
    'git_http_url',
    'git_ssh_url',
    'http_url',
    'web_url',
    'url',
  ]
  const links = at(at(json, 'repository'), 'links')
  const clone = at(links, 'clone')
  const texts = [
    ...places.flatMap((place) => names.map((name) => text(place, name))),
    text(at(links, 'html'), 'href'),
    ...(Array.isArray(clone) ? clone.slice(0, 10).map((link: Json) => text(link, 'href')) : []),
  ]
  return [...new Set(texts.flatMap((address) => addressKey(address) ?? []))]
}

/** Bitbucket Server tells project and slug, of which it makes https://<host>/scm/<project>/<slug>.git. */
function bitbucketServerPath(repository: Json | undefined): string {
  const [project, slug] = [text(at(repository, 'project'), 'key'), text(repository, 'slug')]
  return project === '' || slug === '' ? '' : `/${project}/${slug}`.toLowerCase()
}

function findPushed(json: Json): PushedRef[] {
  const cloud = list(at(at(json, 'push'), 'changes')).map(fromBitbucketCloud)
  const server = list(at(json, 'changes')).map((change) => pushedRef(text(change, 'refId'), text(change, 'toHash')))
  const after = text(json, 'after') || text(json, 'checkout_sha') || text(json, 'commit')
  return [...cloud, ...server, pushedRef(text(json, 'ref'), after)].flatMap((pushed) => pushed ?? [])
}

function fromBitbucketCloud(change: Json): PushedRef | undefined {
  const now = at(change, 'new')
  const named = now === null ? at(change, 'old') : now
  const folder = { branch: 'refs/heads/', tag: 'refs/tags/' }[text(named, 'type')]
  if (folder === undefined) return undefined
  return pushedRef(`${folder}${text(named, 'name')}`, text(at(now, 'target'), 'hash') || '0')
}

/** Zeros stand for a ref that was deleted. GitHub's create and delete name a ref without its folder: no ref to wait for. */
function pushedRef(name: string, oid: string): PushedRef | undefined {
  if (!/^refs\/[^\0-\x20]{1,500}$/.test(name)) return undefined
  if (/^0+$/.test(oid)) return { name, oid: undefined }
  return /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/.test(oid) ? { name, oid } : undefined
}

function at(json: Json | undefined, key: string): Json | undefined {
  const isObject = typeof json === 'object' && json !== null && !Array.isArray(json) && Object.hasOwn(json, key)
  return isObject ? (json as { readonly [key: string]: Json })[key] : undefined
}

function text(json: Json | undefined, key: string): string {
  const value = at(json, key)
  return typeof value === 'string' && value.length <= 2_048 ? value : ''
}

function list(json: Json | undefined): readonly Json[] {
  return Array.isArray(json) ? json.slice(0, MAX_REFS) : []
}
