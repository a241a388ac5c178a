// What the kubelet puts into a pod from outside it: environment, ConfigMaps, Secrets, downward API and tokens.

import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import type { KubeClient } from './kube-client.ts'
import {
  type Container,
  type EnvironmentVariable,
  getDownwardField,
  type Pod,
  type Projection,
  type Source,
  type TokenProjection,
  type Volume,
} from './pod.ts'

/** The files of one volume by path, and how long they may stay as they are. */
type VolumeContent = { readonly files: Map<string, Buffer>; readonly freshForMs: number }

const defaultFreshForMs = 60_000

/** Reads what one pod needs from the API server, and lays its volumes out in a folder. */
export class PodMounts {
  /** Prefix of all mount paths: `<root>/var/run/secrets/...`. */
  readonly root: string
  readonly #pod: Pod
  readonly #client: KubeClient
  readonly #caFile: Buffer
  readonly #volumes: string
  readonly #staleAt = new Map<string, number>()

  constructor(pod: Pod, client: KubeClient, { folder, ca }: { readonly folder: string; readonly ca: Buffer }) {
    this.#pod = pod
    this.#client = client
    this.#caFile = ca
    this.root = path.join(folder, 'root')
    this.#volumes = path.join(folder, 'volumes')
  }

  /** Writes every volume and its mount points. Rejects when a ConfigMap or Secret that is not optional is not there. */
  async prepare(container: Container): Promise<void> {
    for (const volume of this.#pod.spec.volumes ?? []) await this.#write(volume)
    for (const { name, mountPath, subPath = '' } of container.volumeMounts ?? []) {
      const link = path.join(this.root, mountPath)
      mkdirSync(path.dirname(link), { recursive: true })
      rmSync(link, { recursive: true, force: true })
      symlinkSync(path.join(this.#volumes, name, subPath), link)
    }
  }

  /** Writes again what is due: tokens at 80 % of their life, everything else once a minute; `all` at once. */
  async refresh({ all = false } = {}): Promise<void> {
    for (const volume of this.#pod.spec.volumes ?? []) {
      if (all || Date.now() >= (this.#staleAt.get(volume.name) ?? 0)) await this.#write(volume)
    }
  }

  /** The container's environment, with `$(NAME)` expanded. Rejects as prepare does. */
  async environment(container: Container): Promise<Record<string, string>> {
    const environment: Record<string, string> = {}
    for (const { prefix = '', configMapRef, secretRef } of container.envFrom ?? []) {
      const data = configMapRef ? await this.#configMap(configMapRef) : secretRef ? await this.#secret(secretRef) : []
      for (const [key, value] of data) environment[`${prefix}${key}`] = value.toString()
    }
    for (const variable of container.env ?? []) {
      const value = await this.#value(variable)
      if (value !== undefined) environment[variable.name] = expandReferences(value, environment)
    }
    return environment
  }

  async #value({ value, valueFrom }: EnvironmentVariable): Promise<string | undefined> {
    if (!valueFrom) return value ?? ''
    const { fieldRef, secretKeyRef, configMapKeyRef, resourceFieldRef } = valueFrom
    if (fieldRef) return getDownwardField(this.#pod, fieldRef.fieldPath)
    if (resourceFieldRef) throw new Error('the kubelet stand-in does not know resourceFieldRef')
    const source = secretKeyRef ?? configMapKeyRef
    if (!source) return ''
    const data = secretKeyRef ? await this.#secret(secretKeyRef) : await this.#configMap(source)
    const found = data.get(source.key)
    if (!found && !source.optional) throw new Error(`couldn't find key ${source.key} in ${source.name}`)
    return found?.toString()
  }

  async #write(volume: Volume): Promise<void> {
    const folder = path.join(this.#volumes, volume.name)
    mkdirSync(folder, { recursive: true })
    const { files, freshForMs } = await this.#content(volume)
    for (const [name, content] of files) {
      const file = path.join(folder, name)
      mkdirSync(path.dirname(file), { recursive: true })
      writeFileSync(`${file}.next`, content, { mode: 0o600 })
      renameSync(`${file}.next`, file)
    }
    this.#staleAt.set(volume.name, Date.now() + freshForMs)
  }

  async #content(volume: Volume): Promise<VolumeContent> {
    if (volume.emptyDir) return { files: new Map(), freshForMs: Number.POSITIVE_INFINITY }
    if (volume.projected) return await this.#project(volume.projected.sources)
    const { configMap, secret, downwardAPI } = volume
    if (!configMap && !secret && !downwardAPI) {
      throw new Error(`the kubelet stand-in does not know what kind of volume ${volume.name} is`)
    }
    return await this.#project([
      {
        ...(configMap && { configMap }),
        ...(secret && { secret: { ...secret, name: secret.secretName } }),
        ...(downwardAPI && { downwardAPI }),
      },
    ])
  }

  async #project(sources: readonly Projection[]): Promise<VolumeContent> {
    const files = new Map<string, Buffer>()
    let freshForMs = defaultFreshForMs
    const add = (data: ReadonlyMap<string, Buffer>, items?: readonly { key: string; path: string }[]) => {
      for (const [key, value] of data) {
        const target = items ? items.find((item) => item.key === key)?.path : key
        if (target !== undefined) files.set(target, value)
      }
    }
    for (const { configMap, secret, downwardAPI, serviceAccountToken } of sources) {
      if (configMap) add(await this.#configMap(configMap), configMap.items)
      if (secret) add(await this.#secret(secret), secret.items)
      for (const { path: target, fieldRef } of downwardAPI?.items ?? []) {
        files.set(target, Buffer.from(fieldRef ? getDownwardField(this.#pod, fieldRef.fieldPath) : ''))
      }
      if (serviceAccountToken) {
        const { token, expiresAt } = await this.#token(serviceAccountToken)
        files.set(serviceAccountToken.path, Buffer.from(token))
        freshForMs = Math.min(freshForMs, (expiresAt - Date.now()) * 0.8)
      }
    }
    return { files, freshForMs }
  }

  async #token({ audience, expirationSeconds = 3600 }: TokenProjection): Promise<{ token: string; expiresAt: number }> {
    const { namespace, name, uid } = this.#pod.metadata
    const answer = await this.#client.createToken(namespace, this.#pod.spec.serviceAccountName ?? 'default', {
      expirationSeconds,
      ...(audience && { audiences: [audience] }),
      boundObjectRef: { apiVersion: 'v1', kind: 'Pod', name, uid },
    })
    return { token: answer.token, expiresAt: Date.parse(answer.expirationTimestamp) }
  }

  async #configMap(source: Source): Promise<Map<string, Buffer>> {
    const object = await this.#find('ConfigMap', source)
    if (!object && source.name === 'kube-root-ca.crt') return new Map([['ca.crt', this.#caFile]])
    this.#require('configmap', source, object)
    const text = Object.entries(object?.data ?? {}).map(([key, value]) => [key, Buffer.from(value)] as const)
    return new Map([...text, ...decode(object?.binaryData)])
  }

  async #secret(source: Source): Promise<Map<string, Buffer>> {
    const object = await this.#find('Secret', source)
    this.#require('secret', source, object)
    return new Map(decode(object?.data))
  }

  #find(kind: string, { name }: Source) {
    return this.#client.find({ apiVersion: 'v1', kind, metadata: { namespace: this.#pod.metadata.namespace, name } })
  }

  #require(kind: string, { name, optional }: Source, object: unknown): void {
    if (!object && !optional) throw new Error(`${kind} "${name}" not found`)
  }
}

/** Replaces `$(NAME)` by the variable's value, as Kubernetes does; an unknown name stays, `$$` is a dollar. */
export function expandReferences(text: string, environment: Readonly<Record<string, string>>): string {
  return text.replaceAll(/\$\$|\$\(([^)]+)\)/g, (whole, name?: string) =>
    whole === '$$' ? '$' : (environment[name ?? ''] ?? whole),
  )
}

function decode(data: unknown): [string, Buffer][] {
  return Object.entries((data ?? {}) as Record<string, string>).map(([key, text]) => [key, Buffer.from(text, 'base64')])
}
