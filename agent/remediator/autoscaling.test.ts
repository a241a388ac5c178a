import type { KubernetesObject } from '@fairlead/shared/object-reference'
import { expect, test } from 'vitest'
import { findScaleTarget, ScaleTargets } from './autoscaling.ts'

const autoscaler = (spec: object): KubernetesObject => ({
  apiVersion: 'autoscaling/v2',
  kind: 'X',
  metadata: { name: 'x', namespace: 'shop' },
  spec,
})
const web = { apiVersion: 'apps/v1', kind: 'Deployment', name: 'web' }

test.for<[object, 'replicas' | 'resources', string | undefined]>([
  [{ scaleTargetRef: web }, 'replicas', 'apps/Deployment/shop/web'],
  [{ scaleTargetRef: { ...web, apiVersion: 'apps/v1beta1' } }, 'replicas', 'apps/Deployment/shop/web'],
  [{ scaleTargetRef: { kind: 'ReplicationController', name: 'r' } }, 'replicas', '/ReplicationController/shop/r'],
  [{ targetRef: web }, 'resources', 'apps/Deployment/shop/web'],
  [{ targetRef: web, updatePolicy: { updateMode: 'Auto' } }, 'resources', 'apps/Deployment/shop/web'],
  [{ targetRef: web, updatePolicy: { updateMode: 'Off' } }, 'resources', undefined],
  [{}, 'replicas', undefined],
  [{ targetRef: { kind: 1 } }, 'resources', undefined],
])('%j sets the %s of %s', ([spec, scaling, target]) => {
  expect(findScaleTarget(autoscaler(spec), scaling)).toBe(target)
})

test('a target is one as long as any autoscaler has it', () => {
  const targets = new ScaleTargets()
  expect(targets.set('a', 'web')).toEqual(['web'])
  expect(targets.set('a', 'web')).toEqual([])
  expect(targets.set('b', 'web')).toEqual([])
  expect(targets.set('a', 'api')).toEqual(['api'])
  expect(targets.has('web')).toBe(true)
  expect(targets.set('b', undefined)).toEqual(['web'])
  expect(targets.set('b', undefined)).toEqual([])
  expect([targets.has('web'), targets.has('api')]).toEqual([false, true])
  expect(targets.clear()).toEqual(['api'])
})
