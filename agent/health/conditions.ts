// Reading status without trusting it: every field may be missing or of another type.
import type { KubernetesObject } from '@fairlead/shared/object-reference'

/** One entry of status.conditions. */
export interface Condition {
  readonly type: string
  /** True, False or Unknown. */
  readonly status: string
  readonly reason: string
  readonly message: string
  /** Of those who write one: Error, Warning or Info; else empty. */
  readonly severity: string
  /** Generation that it speaks of, where the controller says so. */
  readonly observedGeneration: number | undefined
  /** In ms since the epoch, undefined when unknown. */
  readonly lastTransitionMs: number | undefined
}

/** Fields of a JSON object; empty for anything else. */
export function fieldsOf(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {}
}

/** The JSON objects of a list; empty for anything else. */
export function itemsOf(value: unknown): Record<string, unknown>[] {
  return Array.isArray(value) ? value.map(fieldsOf) : []
}

/** A number, or undefined. */
export function numberOf(value: unknown): number | undefined {
  return typeof value === 'number' ? value : undefined
}

/** Text, or empty. */
export function textOf(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

/** The object's spec. */
export function specOf(object: KubernetesObject): Record<string, unknown> {
  return fieldsOf(object.spec)
}

/** The object's status. */
export function statusOf(object: KubernetesObject): Record<string, unknown> {
  return fieldsOf(object.status)
}

/** The object's conditions. */
export function conditionsOf(object: KubernetesObject): Condition[] {
  return toConditions(statusOf(object).conditions)
}

/** A list of conditions; empty for anything else. */
export function toConditions(list: unknown): Condition[] {
  return itemsOf(list).map((condition) => {
    const at = Date.parse(textOf(condition.lastTransitionTime))
    return {
      type: textOf(condition.type),
      status: textOf(condition.status),
      reason: textOf(condition.reason),
      message: textOf(condition.message),
      severity: textOf(condition.severity),
      observedGeneration: numberOf(condition.observedGeneration),
      lastTransitionMs: Number.isNaN(at) ? undefined : at,
    }
  })
}

/** The condition of a type, if there is one. */
export function findCondition(object: KubernetesObject, type: string): Condition | undefined {
  return conditionsOf(object).find((condition) => condition.type === type)
}

/** `Reason: message` of a condition, with its type where it gives no reason. */
export function describeCondition({ type, status, reason, message }: Condition): string {
  const what = reason === '' ? `${type} is ${status}` : reason
  return message === '' ? what : `${what}: ${message}`
}
