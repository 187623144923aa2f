'use strict'
// Run by process.test.js.
const { Limit, Limiter } = require('..')

const limiter = new Limiter([Limit.requests(1)])
limiter.tryAcquire()
let from
try {
  Limiter.from('llmrl:1:0123456789abcdef')
} catch (error) {
  from = error.name
}
process.send({ granted: limiter.stats().granted, from }, () => process.disconnect())
