// How the servers are found: pinned by go.mod, from the cache, from PATH, or built.

import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import {
  ensureTools,
  getCachePath,
  getKubernetesVersion,
  getPinnedVersion,
  kubernetesTools,
  kubernetesVersions,
  toolNames,
} from './tools.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'fairlead-tools-test-'))
  vi.stubEnv('XDG_CACHE_HOME', path.join(folder, 'cache'))
  vi.stubEnv('KUBEBUILDER_ASSETS', '')
  vi.stubEnv('FAIRLEAD_KUBERNETES', '')
  vi.stubEnv('PATH', path.join(folder, 'bin'))
})
afterEach(() => {
  vi.unstubAllEnvs()
  rmSync(folder, { recursive: true })
})

function install(file: string, script: string): string {
  mkdirSync(path.dirname(file), { recursive: true })
  writeFileSync(file, `#!/bin/sh\n${script}\n`)
  chmodSync(file, 0o755)
  return file
}

test('every tool has a pinned version and a place in the cache of its own', () => {
  expect(toolNames.map(getPinnedVersion).every((version) => /^v\d+\.\d+\.\d+$/.test(version))).toBe(true)
  expect(new Set(toolNames.map(getCachePath)).size).toBe(toolNames.length)
  expect(getCachePath('helm3')).toMatch(/helm3-v3\.\d+\.\d+-[0-9a-f]{12}\/helm$/)
})

test('FAIRLEAD_KUBERNETES says on which Kubernetes to test, and the newest is the default', () => {
  expect(getKubernetesVersion()).toBe(kubernetesVersions[0])
  const etcd = getCachePath('etcd')
  const pinned = kubernetesVersions.map((version) => {
    vi.stubEnv('FAIRLEAD_KUBERNETES', version)
    expect(getKubernetesVersion()).toBe(version)
    expect(getCachePath('etcd')).toBe(etcd)
    return kubernetesTools.map((name) => [getPinnedVersion(name).split('.', 2).join('.'), getCachePath(name)])
  })
  expect(pinned.map((tools) => [...new Set(tools.map(([version]) => version))])).toEqual(
    kubernetesVersions.map((version) => [`v${version}`]),
  )
  expect(new Set(pinned.flat().map(([, file]) => file)).size).toBe(kubernetesVersions.length * kubernetesTools.length)
  vi.stubEnv('FAIRLEAD_KUBERNETES', '1.2')
  expect(() => getPinnedVersion('kube-apiserver')).toThrow('FAIRLEAD_KUBERNETES is "1.2"; it may be 1.36, 1.34, 1.32')
})

test('a cached binary is used without being asked anything', async () => {
  const file = install(getCachePath('etcd'), 'exit 1')
  expect(await ensureTools(['etcd'])).toEqual({ etcd: file })
})

test('a binary of exactly the pinned version in KUBEBUILDER_ASSETS or on PATH is used', async () => {
  vi.stubEnv('KUBEBUILDER_ASSETS', path.join(folder, 'assets'))
  const etcd = install(path.join(folder, 'assets/etcd'), `echo "etcd Version: ${getPinnedVersion('etcd').slice(1)}"`)
  const nats = install(path.join(folder, 'bin/nats-server'), `echo "nats-server: ${getPinnedVersion('nats-server')}"`)
  expect(await ensureTools(['nats-server', 'etcd'])).toEqual({ etcd, 'nats-server': nats })
})

test('without Go, and with another version on PATH, the error says what to install', async () => {
  install(path.join(folder, 'bin/etcd'), `echo "etcd Version: ${getPinnedVersion('etcd').slice(1)}0"`)
  await expect(ensureTools(['etcd'])).rejects.toThrow(
    /Go 1\.\S+ or newer is needed to build etcd v\S+, and no Go was found/,
  )
})

test('a Go that is too old is named in the error', async () => {
  install(path.join(folder, 'bin/go'), 'echo go1.9.4')
  await expect(ensureTools(['etcd'])).rejects.toThrow(
    /Go 1\.\S+ or newer is needed to build etcd v\S+, and Go 1.9.4 was found/,
  )
})
