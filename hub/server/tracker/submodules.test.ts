import { expect, test } from 'vitest'
import { remoteOfSubmodule } from './remote.ts'
import { parseGitmodules, resolveSubmoduleUrl } from './submodules.ts'

test('.gitmodules is read as git reads it, and what is odd is passed over', () => {
  const text = `
# comment
[submodule "a"]
	path = libs/a/
	url = ../a.git ; comment
[submodule "b"]
	url = "https://git.example.com/b \\"x\\".git"
	path = "libs/b"
	update = !touch x
[submodule "no url"]
	path = libs/c
[core]
	sshCommand = touch x
stray
`
  expect([...parseGitmodules(text)]).toEqual([
    ['libs/a', '../a.git'],
    ['libs/b', 'https://git.example.com/b "x".git'],
  ])
})

test.each([
  ['https://h/team/shop.git', '../lib.git', 'https://h/team/lib.git'],
  ['https://h/team/shop.git', './sub.git', 'https://h/team/shop.git/sub.git'],
  ['https://h:8443/team/shop.git/', '../../../../x', 'https://h:8443/x'],
  ['ssh://git@h:7999/team/shop.git', '../lib.git', 'ssh://git@h:7999/team/lib.git'],
  ['git@h:team/shop.git', '../lib.git', 'git@h:team/lib.git'],
  ['https://h/shop.git', 'https://other/x.git', 'https://other/x.git'],
])('of %s, %s is %s', (repository, url, absolute) => {
  expect(resolveSubmoduleUrl(repository, url)).toBe(absolute)
})

const web = { url: 'https://git.example.com/shop.git', authorization: 'Basic x', caPem: 'pem' }
const ssh = { url: 'git@git.example.com:shop.git', ssh: { knownHosts: 'k', privateKey: 'p' } }
const of = (url: string) => ({ url, path: 'libs/a', oid: 'a'.repeat(40) })

test('the login goes to the own host only', () => {
  expect(remoteOfSubmodule(web, of('https://git.example.com/lib.git'), [])).toEqual({
    ...web,
    url: 'https://git.example.com/lib.git',
  })
  expect(remoteOfSubmodule(ssh, of('ssh://git@git.example.com/lib.git'), [])).toEqual({
    ...ssh,
    url: 'ssh://git@git.example.com/lib.git',
  })
  const declared = remoteOfSubmodule(web, of('https://other.example.com/lib.git'), ['other.example.com'])
  expect(declared).toEqual({ url: 'https://other.example.com/lib.git' })
})

test.each([
  [web, 'https://other.example.com/lib.git'],
  [web, 'http://git.example.com/lib.git'],
  [web, 'http://declared.example.com/lib.git'],
  [web, 'ssh://git@declared.example.com/lib.git'],
  [web, 'git@git.example.com:lib.git'],
  [ssh, 'https://git.example.com/lib.git'],
  [ssh, 'ssh://git@git.example.com:2222/lib.git'],
  [web, 'https://user:secret@git.example.com/lib.git'],
  [web, 'file:///etc'],
  [web, '/etc'],
  [web, 'ext::sh -c id'],
  [web, '--upload-pack=id'],
  [web, '-oProxyCommand=id:x'],
])('of %j, the address %s is refused', (own, url) => {
  expect(() => remoteOfSubmodule(own, of(url), ['declared.example.com'])).toThrow(
    expect.objectContaining({ code: 'UnsafePath' }),
  )
})
