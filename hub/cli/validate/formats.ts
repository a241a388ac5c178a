// What `fairlead validate` found, for people, for scripts, and for the two formats that CI systems read. Pure.
import type { Unchecked, ValidateResult } from '@fairlead/server/validate'
import { formatErrorDetail } from '@fairlead/shared/grpc-status'
import { VERSION } from '@fairlead/shared/version'
import { plain } from '../output/text.ts'
import type { Located } from './locate.ts'

/** Everything that is reported. */
export interface ValidateReport extends Omit<ValidateResult, 'findings'> {
  readonly findings: readonly Located[]
}

/** Lines for a person: one for each finding, then what was looked at. */
export function formatText(report: ValidateReport): string[] {
  const { findings, unchecked, definitions, folders, objects } = report
  const counted = countAll(definitions, objects, folders)
  const result = findings.length === 0 ? 'nothing is wrong' : count(findings.length, 'problem')
  return [
    ...findings.map((finding) => `error: ${plain(sentenceOf(finding))}`),
    ...countReasons(unchecked).map((line) => `note: ${plain(line)}`),
    `${result} in ${counted}`,
  ]
}

/** Data for scripts. */
export function formatData({ findings, unchecked, definitions, folders, objects }: ValidateReport): object {
  return { valid: findings.length === 0, findings, unchecked, checked: { definitions, folders, objects } }
}

/** JUnit's XML: a test case for each file with something wrong, and one for all the others. */
export function formatJunit({ findings, definitions, objects }: ValidateReport): string {
  const files = Map.groupBy(findings, ({ file = '' }) => file)
  const cases = [...files].map(([file, found]) => {
    const failures = found.map(
      (finding) =>
        `      <failure type="${xml(finding.code)}" message="${xml(finding.message)}">${xml(sentenceOf(finding))}</failure>`,
    )
    return [
      `    <testcase classname="fairlead" name="${xml(file || 'documents')}">`,
      ...failures,
      '    </testcase>',
    ].join('\n')
  })
  const rest = `    <testcase classname="fairlead" name="${count(definitions, 'definition')}, ${count(objects, 'object')}"/>`
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    '<testsuites>',
    `  <testsuite name="fairlead validate" tests="${files.size + 1}" failures="${files.size}" errors="0" skipped="0">`,
    ...cases,
    rest,
    '  </testsuite>',
    '</testsuites>',
    '',
  ].join('\n')
}

/** SARIF 2.1.0, as code hosts show it beside the lines of a change. */
export function formatSarif({ findings }: ValidateReport): object {
  const rules = [...new Set(findings.map(({ code }) => code))].sort()
  return {
    version: '2.1.0',
    runs: [
      {
        tool: { driver: { name: 'fairlead', version: VERSION, rules: rules.map((id) => ({ id })) } },
        results: findings.map((finding) => ({
          ruleId: finding.code,
          ruleIndex: rules.indexOf(finding.code),
          level: 'error',
          message: { text: messageOf(finding) },
          ...(finding.file === undefined
            ? {}
            : {
                locations: [
                  {
                    physicalLocation: {
                      artifactLocation: { uri: finding.file.split('/').map(encodeURIComponent).join('/') },
                      ...(finding.line ? { region: { startLine: finding.line } } : {}),
                    },
                  },
                ],
              }),
        })),
      },
    ],
  }
}

function sentenceOf(finding: Located): string {
  return `${formatErrorDetail(finding)}${versionsOf(finding)}`
}

function messageOf(finding: Located): string {
  const { file: _file, line: _line, ...rest } = finding
  return `${formatErrorDetail(rest)}${versionsOf(finding)}`
}

function versionsOf({ versions = [] }: Located): string {
  return versions.length === 0 ? '' : ` (Kubernetes ${versions.join(', ')})`
}

function countReasons(unchecked: readonly Unchecked[]): string[] {
  const reasons = Map.groupBy(unchecked, ({ reason }) => reason)
  return [...reasons].map(([reason, objects]) => {
    const listed = objects
      .slice(0, 3)
      .map(({ object }) => object)
      .join(', ')
    const more = objects.length > 3 ? ` and ${objects.length - 3} more` : ''
    return `no schema for ${listed}${more}: ${reason}`
  })
}

/** What was looked at, without what there was none of. */
function countAll(definitions: number, objects: number, folders: number): string {
  const counts = [
    [definitions, 'definition'],
    [objects, 'object'],
    [folders, 'folder'],
  ] as const
  const some = counts.filter(([number]) => number > 0)
  return some.length === 0 ? 'nothing that could be read' : some.map(([number, noun]) => count(number, noun)).join(', ')
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`
}

/** Text in XML 1.0, which has no way to write most control characters. */
function xml(text: string): string {
  const entities: Readonly<Record<string, string>> = {
    '<': '&lt;',
    '>': '&gt;',
    '&': '&amp;',
    '"': '&quot;',
    '\n': '&#10;',
  }
  return text
    .replace(/[^\x09\x0a\x20-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu, '?')
    .replace(/[<>&"\n]/g, (character) => entities[character] ?? character)
}
