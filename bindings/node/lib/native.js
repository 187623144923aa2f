'use strict'
// The addon, and the buffer through which numbers go between it and JavaScript: reading arguments one by one would cost more than
// admitting a request. src/addon.h has the same list of places.
const { existsSync } = require('node:fs')
const { join } = require('node:path')

const root = join(__dirname, '..')
const built = join(root, 'build', 'llmrl.node')
const file = existsSync(built) ? built : join(root, 'prebuilds', `${process.platform}-${process.arch}`, 'llmrl.node')
if (!existsSync(file)) {
  throw new Error(`llmrl: no addon for ${process.platform}-${process.arch}; run "npm rebuild llmrl", which says what is missing`)
}
const native = require(file)

// Called when another thread has woken somebody. The waiting is lib/hub.js's, which sets it.
const shared = { drain: () => {} }
const memory = native.start(() => shared.drain())

module.exports = {
  native,
  shared,
  n: new Float64Array(memory),
  words: new Uint32Array(memory),
  bits: new BigUint64Array(memory),

  OBJECT: 0,
  REQUESTS: 1,
  TIMEOUT: 6,
  TICKET: 7,
  TICKET_LOW: 14, // the same in `words`
  STATUS: 9,
  WAIT: 10,
  WOKEN: 11,
  LEVEL: 12,
  COUNT: 14,
  WAKES: 16,
  RESULT: 40,

  OK: 0,
  PENDING: 1,
  REFUSED: 2,
}
