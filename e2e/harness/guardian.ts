// Ends every process and removes every folder of a test run when the run itself is gone, however it went: a shell that
// reads what to guard from a pipe, and cleans up when the pipe closes. SIGKILL of a test runner leaves nothing behind.

import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, realpathSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'

const script = `
trap '' INT TERM HUP
groups=
folder=
while read -r verb value; do
  case $verb in
    guard) groups="$groups $value" ;;
    release) kept=; for g in $groups; do [ "$g" = "$value" ] || kept="$kept $g"; done; groups=$kept ;;
    folder) folder=$value ;;
  esac
done
for g in $groups; do kill -s KILL -- "-$g" 2>/dev/null; done
[ -z "$folder" ] || { rm -rf "$folder" 2>/dev/null || { sleep 1; rm -rf "$folder"; }; }
`

let guardian: ChildProcess | undefined
let folder: string | undefined

function tell(line: string): void {
  if (!guardian) {
    guardian = spawn('/bin/sh', ['-c', script], { stdio: ['pipe', 'ignore', 'ignore'], detached: true })
    guardian.unref()
    // The pipe must not hold the run open; it closes when the run ends.
    const pipe = guardian.stdin as (NodeJS.WritableStream & { unref?: () => void }) | null
    pipe?.unref?.()
  }
  guardian.stdin?.write(`${line}\n`)
}

/** Has the process group of this pid killed when the run ends. */
export function guard(pid: number): void {
  tell(`guard ${pid}`)
}

/** Forgets a process group, because it has ended. */
export function release(pid: number): void {
  tell(`release ${pid}`)
}

/**
 * The folder of this run, for logs, data and sockets: made on first use, removed when the run ends.
 * FAIRLEAD_KEEP=1 leaves it, and it is named on standard error.
 */
export function getRunFolder(): string {
  if (folder === undefined) {
    folder = realpathSync(mkdtempSync(path.join(tmpdir(), 'fairlead-run-')))
    if (process.env.FAIRLEAD_KEEP === '1') console.error(`the files of this run are kept in ${folder}`)
    else tell(`folder ${folder}`)
  }
  return folder
}

/** A new folder inside the folder of this run. */
export function makeRunFolder(name: string): string {
  return mkdtempSync(path.join(getRunFolder(), `${name}-`))
}
