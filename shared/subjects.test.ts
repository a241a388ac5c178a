import { describe, expect, test } from 'vitest'
import {
  AGENT_PERMISSIONS,
  agentInboxPrefix,
  answerSubject,
  blobGetSubject,
  desiredGetSubject,
  doorbellSubject,
  eventSubject,
  findClusterId,
  heartbeatSubject,
  SERVICE_EXPORTS,
  STREAM_EXPORT,
  statusSubject,
} from './subjects.ts'

const ID = 'abcdefghijklmnopqrstuvwxy2'

/** NATS subject matching: `*` is one token, `>` is one or more. */
function matches(pattern: string, subject: string): boolean {
  const wanted = pattern.split('.')
  const given = subject.split('.')
  for (const [index, token] of wanted.entries()) {
    if (token === '>') return given.length > index
    if (given[index] === undefined || (token !== '*' && token !== given[index])) return false
  }
  return wanted.length === given.length
}

const allowed = (list: readonly string[], id: string, subject: string): boolean =>
  list.some((pattern) => matches(pattern.replace('{{name()}}', id), subject))

test('an agent may do everything that the link needs and is exported to it', () => {
  const published = [
    desiredGetSubject(ID, 'main'),
    desiredGetSubject(ID, 'cmd'),
    blobGetSubject('0'.repeat(64)),
    statusSubject(ID),
    eventSubject(ID),
    heartbeatSubject(ID),
    answerSubject(ID),
  ]
  for (const subject of published) {
    expect(allowed(AGENT_PERMISSIONS.pub.allow, ID, subject), subject).toBe(true)
    expect(allowed(SERVICE_EXPORTS, ID, subject), subject).toBe(true)
  }
  expect(allowed(AGENT_PERMISSIONS.sub.allow, ID, doorbellSubject(ID, 'main'))).toBe(true)
  expect(allowed(AGENT_PERMISSIONS.sub.allow, ID, `${agentInboxPrefix(ID)}.x`)).toBe(true)
  expect(matches(STREAM_EXPORT, doorbellSubject(ID, 'main'))).toBe(true)
})

test('an agent may not publish or hear anything that is another cluster’s', () => {
  const other = `${ID.slice(0, -1)}3`
  for (const subject of [
    desiredGetSubject(other, 'main'),
    desiredGetSubject(other, 'cmd'),
    statusSubject(other),
    eventSubject(other),
    heartbeatSubject(other),
    answerSubject(other),
    `desired.${ID}.main`,
  ]) {
    expect(allowed(AGENT_PERMISSIONS.pub.allow, ID, subject), subject).toBe(false)
  }
  expect(allowed(AGENT_PERMISSIONS.sub.allow, ID, doorbellSubject(other, 'main'))).toBe(false)
  expect(allowed(AGENT_PERMISSIONS.sub.allow, ID, `${agentInboxPrefix(other)}.x`)).toBe(false)
})

describe('the cluster id of a subject', () => {
  test.each([
    [`up.${ID}.status`, ID],
    [`up.${ID}.status.more`, undefined],
    [`down.${ID}.status`, undefined],
    ['up.*.status', undefined],
    ['up.>.status', undefined],
    ['up..status', undefined],
    ['up.short.status', undefined],
    [`up.${ID.toUpperCase()}.status`, undefined],
  ])('of %j is %j', (subject, id) => {
    expect(findClusterId(subject)).toBe(id)
  })
})
