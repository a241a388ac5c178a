import { create } from '@bufbuild/protobuf'
import { ApplicationSpecSchema } from '@fairlead/proto/definitions'
import { expect, test } from 'vitest'
import { type ApplicationDefinition, EMPTY_SNAPSHOT, type FleetSnapshot, refKey } from './fleet-snapshot.ts'
import { VariantIndex, variantKey } from './variants.ts'
import { findTargets, settledKey, WholeCommits } from './whole-commits.ts'

function define(name: string, repository = 'shop', deleting: 'prune' | null = null): ApplicationDefinition {
  const spec = create(ApplicationSpecSchema, { source: { repository, ref: 'main', path: name } })
  return { name, uid: name, generation: 1, deleting, spec }
}

function snapshot(...applications: readonly ApplicationDefinition[]): FleetSnapshot {
  return {
    ...EMPTY_SNAPSHOT,
    applications: new Map(applications.map((each) => [each.name, each])),
    commits: new Map([
      [refKey('shop', 'main'), 'c1'],
      [refKey('bank', 'main'), 'c2'],
    ]),
  }
}

function settle(now: FleetSnapshot, ...names: readonly string[]): Map<string, string> {
  return new Map(
    names.map((name) => {
      const application = now.applications.get(name)
      const [target] = application ? findTargets(application, now, new VariantIndex()) : []
      if (!application || !target) throw new Error(`${name} is not in the snapshot`)
      return [variantKey(target), settledKey(application, target)]
    }),
  )
}

const web = define('web')
const api = define('api')

test('an application waits while another of its commit is not rendered, and goes when it is', () => {
  const [now, commits] = [snapshot(web, api), new WholeCommits()]
  expect([...commits.holdBack([web], now, settle(now, 'web'))]).toEqual(['web'])
  expect([...commits.holdBack([web, api], now, settle(now, 'web', 'api'))]).toEqual([])
  expect(commits.heldUntil).toBe(Infinity)
})

test('applications of another repository, of an unknown commit, or that are being deleted wait for nobody', () => {
  const [bank, lost, gone] = [define('bank', 'bank'), define('lost', 'lost'), define('gone', 'shop', 'prune')]
  const now = snapshot(web, api, bank, lost, gone)
  const commits = new WholeCommits()
  expect([...commits.holdBack([bank, lost, gone], now, settle(now, 'bank'))]).toEqual([])
})

test('one that takes too long is not waited for, and the next commit is waited for again once all are rendered', () => {
  const now = snapshot(web, api)
  let nowMs = 1_000
  const commits = new WholeCommits({ limitMs: 100, clock: () => nowMs })
  expect([...commits.holdBack([web], now, settle(now, 'web'))]).toEqual(['web'])
  expect(commits.heldUntil).toBe(1_100)
  nowMs = 1_100
  expect([...commits.holdBack([web], now, settle(now, 'web'))]).toEqual([])
  expect(commits.heldUntil).toBe(Infinity)
  // Nor does a newer commit in the meantime begin another wait.
  nowMs = 1_150
  expect([...commits.holdBack([web], now, new Map())]).toEqual([])
  commits.holdBack([], now, settle(now, 'web', 'api'))
  expect([...commits.holdBack([web], now, settle(now, 'web'))]).toEqual(['web'])
})
