// Keys with which a developer signs commits and tags: SSH keys by ssh-keygen, OpenPGP keys by gpg.
import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { makeRunFolder } from './guardian.ts'

/** A key that signs. */
export interface SigningKey {
  /** `-c` options of git that sign by this key; `-S` or `-s` is still up to the caller. */
  readonly gitOptions: readonly string[]
  /** Of SSH: `<type> <key>`. Of OpenPGP: the armoured public key. */
  readonly publicKey: string
}

/** Makes an SSH key of a type (default ed25519). Throws with ssh-keygen's message. */
export function makeSshKey(name: string, { type = 'ed25519', bits = '' } = {}): SigningKey & { readonly file: string } {
  const file = path.join(makeRunFolder('ssh-key'), name)
  run('ssh-keygen', ['-q', '-t', type, ...(bits === '' ? [] : ['-b', bits]), '-N', '', '-C', name, '-f', file])
  const [keyType, key] = readFileSync(`${file}.pub`, 'utf8').split(' ')
  return {
    file,
    publicKey: `${keyType} ${key}`,
    gitOptions: ['-c', 'gpg.format=ssh', '-c', `user.signingKey=${file}`],
  }
}

/** Makes an OpenPGP key of an algorithm (default ed25519). Throws with gpg's message. */
export function makeGpgKey(name: string, algorithm = 'ed25519'): SigningKey {
  const home = makeRunFolder('gnupg')
  mkdirSync(home, { recursive: true, mode: 0o700 })
  const gpg = ['--homedir', home, '--batch', '--pinentry-mode', 'loopback', '--passphrase', '']
  const address = `${name}@example.com`
  run('gpg', [...gpg, '--quick-generate-key', address, algorithm, 'sign', 'never'])
  const publicKey = run('gpg', ['--homedir', home, '--armor', '--export', address])
  const program = path.join(home, 'gpg')
  // The agent that gpg starts would outlive the test.
  const script = `#!/bin/sh\ngpg --homedir '${home}' --batch "$@"\nstatus=$?\ngpgconf --homedir '${home}' --kill all\nexit $status\n`
  writeFileSync(program, script, { mode: 0o755 })
  run('gpgconf', ['--homedir', home, '--kill', 'all'])
  return { publicKey, gitOptions: ['-c', `gpg.program=${program}`, '-c', `user.signingKey=${address}`] }
}

function run(command: string, args: readonly string[]): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${error?.message ?? stderr.trim()}`)
  return stdout
}
