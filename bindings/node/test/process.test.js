'use strict'
const assert = require('node:assert/strict')
const { execFileSync, spawnSync, fork } = require('node:child_process')
const { once } = require('node:events')
const { join } = require('node:path')
const { test } = require('node:test')

const INDEX = join(__dirname, '..')

function run(code, args = []) {
  const source = `const { Limit, Limiter, ManualClock } = require(${JSON.stringify(INDEX)}); ${code}`
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, [...args, '-e', source], { encoding: 'utf8', timeout: 20_000 })
  return { status, signal, out: stdout.trim(), err: stderr.trim() }
}

test('a process with idle limiters ends', () => {
  assert.deepEqual(run('globalThis.l = new Limiter([Limit.requests(1), Limit.inFlight(1)]); l.tryAcquire(); console.log("end")'),
    { status: 0, signal: null, out: 'end', err: '' })
})

test('a process goes on while somebody waits for time', () => {
  assert.equal(run('const l = new Limiter([Limit.requests(600, { burst: 1 })]); l.tryAcquire(); l.acquire().then(() => console.log("admitted"))').out, 'admitted')
})

test('a process ends after those who waited have left', () => {
  const code = 'const l = new Limiter([Limit.inFlight(1)]); l.tryAcquire(); const a = new AbortController(); l.acquire({ signal: a.signal }).catch(() => console.log("left")); setImmediate(() => a.abort())'
  assert.deepEqual(run(code), { status: 0, signal: null, out: 'left', err: '' })
})

test('who waits by a manual clock holds nobody up', () => {
  assert.equal(run('const l = new Limiter([Limit.inFlight(1)], { clock: new ManualClock() }); l.tryAcquire(); l.acquire()').status, 0)
})

test('exit and errors in the middle of waiting', () => {
  const begin = 'const l = new Limiter([Limit.inFlight(1)]); l.tryAcquire(); l.acquire();'
  assert.equal(run(`${begin} setImmediate(() => process.exit(7))`).status, 7)
  const thrown = run(`${begin} setImmediate(() => { throw new Error('mine') })`)
  assert.equal(thrown.status, 1)
  assert.match(thrown.err, /mine/)
})

// Node has no fork() of its own: a child process begins anew, and its limiters are its own.
test('a forked child has limiters of its own', async () => {
  const child = fork(join(__dirname, 'child.js'))
  const [answer] = await once(child, 'message')
  assert.deepEqual(answer, { granted: 1, from: 'RangeError' })
})

test('ES modules and CommonJS are the same', () => {
  const code = `import * as esm from 'llmrl'; import { createRequire } from 'node:module'
    const cjs = createRequire(process.cwd() + '/x.js')('llmrl')
    for (const name of Object.keys(cjs)) if (esm[name] !== cjs[name]) throw new Error(name)
    console.log(Object.keys(cjs).length === Object.keys(esm).length, cjs.version)`
  const out = execFileSync(process.execPath, ['--input-type=module', '-e', code], { cwd: INDEX, encoding: 'utf8' })
  assert.match(out, /^true \d+\.\d+\.\d+/)
})
