'use strict'
// Bad input: a TypeError or a RangeError that names field, value and accepted range, never a crash, and nothing has changed.
const assert = require('node:assert/strict')
const { test } = require('node:test')
const llmrl = require('..')
const { BucketMap, Chain, FairQueue, Lengths, Charging, Limit, Limiter, LimiterMap, ManualClock, Router, TokenBucket, Weights, limitFetch, readAnswer } = llmrl

const limiter = new Limiter([Limit.requests(1000), Limit.tokens(2 ** 40 - 1, { per: 86_400_000 }), Limit.fixedWindow(1000)], { clock: new ManualClock() })
const bucket = new TokenBucket(1000)
const map = new BucketMap(10)
const cycle = {}
cycle.toString = null

const CASES = [
  ['amount 0', () => Limit.requests(0), RangeError, /requests: amount must be a whole number from 1 to 1099511627775, got 0/],
  ['amount with a fraction', () => Limit.tokens(1.5), RangeError, /tokens: amount .* got 1\.5/],
  ['amount as text', () => Limit.requests('500'), TypeError, /amount .* got string "500"/],
  ['amount as bigint', () => Limit.requests(5n), TypeError, /got bigint 5n/],
  ['per 0', () => Limit.requests(1, { per: 0 }), RangeError, /per must be milliseconds from 0.000001 to 316224000000, got 0/],
  ['per NaN', () => Limit.requests(1, { per: NaN }), RangeError, /per .* got NaN/],
  ['burst', () => Limit.requests(1, { burst: -1 }), RangeError, /burst .* got -1/],
  ['oversize', () => Limit.requests(1, { oversize: 'yes' }), RangeError, /oversize must be 'reject' or 'whenFull', got string "yes"/],
  ['startEmpty', () => Limit.requests(1, { startEmpty: 1 }), TypeError, /startEmpty must be true or false, got number 1/],
  ['meter', () => Limit.pacing(1, { meter: 'words' }), TypeError, /pacing: meter .* got string "words"/],
  ['parts', () => Limit.slidingWindow(1, { parts: 1001 }), RangeError, /parts .* 1 to 1000, got 1001/],
  ['stamps', () => Limit.slidingWindowLog(1, { stamps: 0 }), RangeError, /stamps .* got 0/],
  ['resetsIn', () => Limit.fixedWindow(1, { per: 1000, resetsIn: 1001 }), RangeError, /resetsIn .* to 1000, got 1001/],
  ['slots', () => Limit.inFlight(2 ** 19), RangeError, /inFlight: amount .* 524287, got 524288/],
  ['weights', () => new Weights({ output: 0.0001 }), RangeError, /output .* got 0\.0001/],
  ['weights of nothing', () => new Weights({ input: 0, output: 0, cached: 0, cacheWrite: 0 }), RangeError, /all 0/],
  ['a rate too high', () => new Limiter([Limit.requests(2 ** 40 - 1, { per: 1 })]), RangeError, /limits\[0\]/],
  ['a Limit by hand', () => new Limit(), TypeError, /Limit\.requests/],
  ['no limits', () => new Limiter([]), RangeError, /1 to 8 of them, got 0/],
  ['limits as arguments', () => new Limiter(Limit.requests(1)), TypeError, /array of Limit/],
  ['a limit that is none', () => new Limiter([{}]), TypeError, /limits\[0\] must be a Limit/],
  ['two in flight', () => new Limiter([Limit.inFlight(1), Limit.inFlight(1)]), RangeError, /limits\[1\]/],
  ['maxWaiters', () => new Limiter([Limit.requests(1)], { maxWaiters: 0 }), RangeError, /maxWaiters .* 1 to 1048576, got 0/],
  ['clock', () => new Limiter([Limit.requests(1)], { clock: {} }), TypeError, /clock must be a ManualClock/],
  ['options', () => new Limiter([Limit.requests(1)], 5), TypeError, /options must be an object, got number 5/],
  ['saved', () => new Limiter([Limit.requests(1)], { saved: 'x' }), TypeError, /saved/],
  ['token', () => Limiter.from('llmrl:1:0000000000000000'), RangeError, /token/],
  ['a token of rubbish', () => Limiter.from('%s%n'.repeat(100)), RangeError, /token/],
  ['no token', () => Limiter.from(7), TypeError, /token .* got number 7/],
  ['input', () => limiter.tryAcquire({ input: -1 }), RangeError, /input must be a whole number from 0 to 1099511627775, got -1/],
  ['input and output', () => limiter.tryAcquire({ input: 2 ** 40 - 1, output: 1 }), RangeError, /together/],
  ['input as text', () => limiter.tryAcquire({ input: '5' }), TypeError, /input .* got string "5"/],
  ['a cost that is a number', () => limiter.tryAcquire(5), TypeError, /cost must be an object .* got number 5/],
  ['null', () => limiter.tryAcquire(null), TypeError, /got null/],
  ['requests', () => limiter.tryAcquire({ requests: 0 }), RangeError, /requests .* from 1 .* got 0/],
  ['cached', () => limiter.tryAcquire({ cached: 2 ** 36 }), RangeError, /cached .* 68719476735, got 68719476736/],
  ['an object that is no text', () => limiter.tryAcquire({ input: cycle }), TypeError, /input/],
  ['index', () => limiter.pause(3, 1), RangeError, /index .* from 0 to 2, got 3/],
  ['align of a bucket', () => limiter.align(0, 5), RangeError, /align: .*index must be one of 2/],
  ['retune', () => limiter.retune(2, 5, { burst: 3 }), RangeError, /burst must be undefined, as fixedWindow has none, got 3/],
  ['pause', () => limiter.pause(0, -1), RangeError, /pause must be milliseconds from 0 .* got -1/],
  ['n of a bucket', () => bucket.tryTake(0), RangeError, /n must be .* from 1 .* got 0/],
  ['n as text', () => bucket.tryTake('1'), TypeError, /got string "1"/],
  ['advance', () => new ManualClock().advance(-1), RangeError, /advance .* got -1/],
  ['key of nothing', () => map.tryTake(''), RangeError, /key must be .* 1 to 65536 bytes in UTF-8, got 0/],
  ['key as number', () => map.tryTake(5), TypeError, /key .* got number 5/],
  ['half a character', () => map.tryTake('\ud800'), RangeError, /half a character/],
  ['a long key', () => new LimiterMap([Limit.requests(1)]).limiter('é'.repeat(513)), RangeError, /1 to 1024 bytes in UTF-8, got 1026/],
  ['capacity', () => new LimiterMap([Limit.requests(1)], { capacity: 0 }), RangeError, /capacity .* got 0/],
  ['a chain of nothing', () => new Chain([]), RangeError, /1 to 8, got 0/],
  ['a chain of others', () => new Chain([bucket]), TypeError, /limiters\[0\] must be a Limiter/],
  ['a fair queue of others', () => new FairQueue({}), TypeError, /limiter must be a Limiter/],
  ['a node', () => new Router().add('a', {}), TypeError, /limiter must be a Limiter/],
  ['a node twice', () => { const router = new Router(); router.add('a', limiter); router.add('a', limiter) }, RangeError, /add: /],
  ['replicas', () => new Router({ replicas: 10_001 }), RangeError, /replicas .* got 10001/],
  ['status', () => readAnswer({ status: 99, headers: {} }), RangeError, /status .* 100 to 999, got 99/],
  ['headers', () => readAnswer({ status: 200, headers: 'a: b' }), TypeError, /headers/],
  ['body', () => readAnswer({ status: 200, body: {} }), TypeError, /body/],
  ['provider', () => Charging.of('acme'), RangeError, /provider must be 'openai' or .* got string "acme"/],
  ['prompt', () => Charging.of('openai').reserve({ prompt: -1 }), RangeError, /prompt .* got -1/],
  ['quantile', () => new Lengths().estimate('', '', 0), RangeError, /quantile .* got number 0/],
  ['a fetch without a limiter', () => limitFetch({}), TypeError, /limiter/],
  ['retries', () => limitFetch(limiter, { retries: -1 }), RangeError, /retries .* got -1/],
]

for (const [name, call, kind, message] of CASES) {
  test(name, () => assert.throws(call, error => {
    assert.ok(error instanceof kind, `${error}`)
    assert.match(error.message, message)
    return true
  }))
}

test('what is asynchronous rejects', async () => {
  await assert.rejects(limiter.acquire({ input: -1 }), RangeError)
  await assert.rejects(limiter.acquire({ timeout: -1 }), /timeout must be milliseconds .* got -1/)
  await assert.rejects(limiter.acquire({ timeout: '5' }), TypeError)
  await assert.rejects(limiter.acquire({ signal: {} }), /signal must be an AbortSignal/)
  await assert.rejects(new FairQueue(limiter).acquire('a', { weight: 0 }), /weight .* 1 to 1000000, got 0/)
  await assert.rejects(new FairQueue(limiter).acquire(), /key/)
})

test('a getter that calls back does no harm', () => {
  const cost = { get input() { limiter.tryAcquire({ input: 1, output: 1 }); return 5 }, output: 7 }
  const before = limiter.limits()[1].available
  assert.ok(limiter.tryAcquire(cost))
  assert.equal(before - limiter.limits()[1].available, 14)
})

test('nothing of all this has been counted', () => {
  assert.equal(new Set(CASES.map(([name]) => name)).size, CASES.length)
  assert.equal(limiter.stats().granted, 2)
  assert.equal(bucket.available, 1000)
})
