'use strict'
const assert = require('node:assert/strict')
const { test } = require('node:test')
const { Closed, DeadlineExceeded, Limit, Limiter, ManualClock, Never, Permit, QueueFull, StalePermit, TokenBucket, Weights } = require('..')
const { oneASecond, settled } = require('./helpers.js')

test('now or not at all', () => {
  const { clock, limiter } = oneASecond()
  assert.ok(limiter.tryAcquire() instanceof Permit)
  assert.equal(limiter.tryAcquire(), null)
  assert.equal(limiter.waitTime(), 1000)
  clock.advance(999)
  assert.equal(limiter.tryAcquire(), null)
  clock.advance(1)
  assert.ok(limiter.tryAcquire())
  assert.equal(limiter.stats().granted, 2)
  assert.equal(limiter.stats().refused, 2)
})

test('a permit ends once', () => {
  const limiter = new Limiter([Limit.tokens(1000), Limit.inFlight(2)], { clock: new ManualClock() })
  const available = () => limiter.limits().map(state => state.available)
  const permit = limiter.tryAcquire({ input: 300, output: 100 })
  assert.deepEqual(available(), [600, 1])
  permit.adjust({ input: 300, output: 200 })
  assert.deepEqual(available(), [500, 1])
  permit.settle({ input: 200, output: 50 })
  assert.deepEqual(available(), [750, 2])
  assert.equal(permit.held, false)
  for (const again of ['release', 'cancel', 'settle', 'adjust']) {
    assert.throws(() => permit[again]({}), error => error instanceof StalePermit && error.code === 'LLMRL_STALE_PERMIT')
  }
  limiter.tryAcquire({ input: 250 }).cancel()
  assert.deepEqual(available(), [750, 2])
  limiter.tryAcquire({ input: 250 }).release()
  assert.deepEqual(available(), [500, 2])
})

test('a permit is disposed of', () => {
  const limiter = new Limiter([Limit.inFlight(1)])
  const dispose = Symbol.dispose ?? Symbol.for('Symbol.dispose')
  const permit = limiter.tryAcquire()
  permit[dispose]()
  permit[dispose]()
  const other = limiter.tryAcquire()
  other.cancel()
  other[dispose]()
  assert.equal(limiter.stats().inFlight, 0)
})

test('the order of those who wait is the order in which they came', async () => {
  const { clock, limiter } = oneASecond()
  limiter.tryAcquire()
  const order = []
  const all = Array.from({ length: 50 }, (_, i) => limiter.acquire().then(() => order.push(i)))
  assert.equal(limiter.stats().waiting, 50)
  for (let i = 0; i < 50; i++) {
    clock.advance(999)
    await settled()
    assert.equal(order.length, i)
    assert.equal(limiter.tryAcquire(), null)
    clock.advance(1)
    await settled()
    assert.equal(order.length, i + 1)
  }
  await Promise.all(all)
  assert.deepEqual(order, [...Array(50).keys()])
})

test('a release lets the next one in, in the same turn of the event loop', async () => {
  const limiter = new Limiter([Limit.inFlight(1)])
  const first = await limiter.acquire()
  const order = []
  const others = [1, 2, 3].map(async i => {
    const permit = await limiter.acquire()
    order.push(i)
    permit.release()
  })
  first.release()
  for (let i = 0; i < 50; i++) await undefined
  assert.deepEqual(order, [1, 2, 3])
  await Promise.all(others)
})

test('by the real clock', async () => {
  const limiter = new Limiter([Limit.requests(6000, { burst: 1 })]) // one in 10 ms
  const began = performance.now()
  await Promise.all(Array.from({ length: 6 }, () => limiter.acquire()))
  // One at once, five more, of which the first may have been under way.
  assert.ok(performance.now() - began >= 40)
})

test('a timeout that cannot be met is refused at once, another one when it has passed', async () => {
  const { limiter } = oneASecond()
  limiter.tryAcquire()
  await assert.rejects(limiter.acquire({ timeout: 999 }), DeadlineExceeded)
  const held = new Limiter([Limit.inFlight(1)])
  held.tryAcquire()
  await assert.rejects(held.acquire({ timeout: 5 }), DeadlineExceeded)
  // Behind somebody who has no timeout, too.
  const patient = held.acquire()
  await assert.rejects(held.acquire({ timeout: 5 }), DeadlineExceeded)
  held.close()
  await assert.rejects(patient, Closed)
})

test('by a manual clock timeouts pass with it', async () => {
  const clock = new ManualClock()
  const limiter = new Limiter([Limit.inFlight(1)], { clock })
  limiter.tryAcquire()
  const late = limiter.acquire({ timeout: 1000 })
  late.catch(() => {})
  clock.advance(1001)
  await assert.rejects(late, DeadlineExceeded)
})

test('an AbortSignal gives the place back', async () => {
  const { clock, limiter } = oneASecond()
  limiter.tryAcquire()
  const abort = new AbortController()
  const [first, second] = [limiter.acquire({ signal: abort.signal }), limiter.acquire()]
  abort.abort(new Error('enough'))
  await assert.rejects(first, /enough/)
  clock.advance(1000)
  assert.ok((await second).held)
  await assert.rejects(limiter.acquire({ signal: AbortSignal.abort() }), { name: 'AbortError' })
  assert.equal(limiter.stats().waiting, 0)
})

test('an AbortSignal after the admission does nothing', async () => {
  const { limiter } = oneASecond()
  const abort = new AbortController()
  const permit = await limiter.acquire({ signal: abort.signal })
  abort.abort()
  assert.ok(permit.held)
  permit.release()
})

test('close ends those who wait, and permits can still be settled', async () => {
  const limiter = new Limiter([Limit.inFlight(1)])
  const permit = limiter.tryAcquire()
  const waiting = [limiter.acquire(), limiter.acquire()]
  limiter.close()
  for (const one of waiting) await assert.rejects(one, error => error instanceof Closed && error.code === 'LLMRL_CLOSED')
  assert.throws(() => limiter.tryAcquire(), Closed)
  assert.throws(() => limiter.waitTime(), Closed)
  permit.settle({})
})

test('what never fits, and a queue that is full', async () => {
  const limiter = new Limiter([Limit.tokens(1000, { burst: 100 }), Limit.inFlight(1)], { maxWaiters: 2 })
  assert.throws(() => limiter.tryAcquire({ input: 101 }), error => error instanceof Never && /101 \(tokens\).*limit 0.*100/.test(error.message))
  await assert.rejects(limiter.acquire({ input: 101 }), Never)
  const permit = limiter.tryAcquire()
  const waiting = [limiter.acquire(), limiter.acquire()]
  await assert.rejects(limiter.acquire(), QueueFull)
  permit.release()
  ;(await waiting[0]).release()
  ;(await waiting[1]).release()
})

test('retune, pause, align, charge', () => {
  const clock = new ManualClock()
  const limiter = new Limiter([Limit.requests(60, { burst: 1 }), Limit.fixedWindow(10, { per: 1000 }), Limit.inFlight(3)], { clock })
  limiter.tryAcquire()
  limiter.retune(0, 600, { burst: 1 })
  assert.equal(limiter.waitTime(), 100)
  limiter.pause(0, 5000)
  assert.equal(limiter.waitTime(), 5000)
  assert.equal(limiter.limits()[0].paused, 5000)
  limiter.pause(0, 0)
  limiter.align(1, 250)
  limiter.charge({ requests: 9 })
  limiter.retune(2, 5)
  assert.equal(limiter.limits()[2].available, 4)
  assert.deepEqual(limiter.limits().map(state => [state.kind, state.amount]), [['tokenBucket', 600], ['fixedWindow', 10], ['inFlight', 5]])
})

test('those who wait are told of a limit that is corrected', async () => {
  const clock = new ManualClock()
  const limiter = new Limiter([Limit.requests(1, { per: 3_600_000 })], { clock })
  limiter.tryAcquire()
  const waiting = limiter.acquire()
  limiter.retune(0, 60, { burst: 1 })
  clock.advance(1000)
  assert.ok((await waiting).held)
})

test('state over a restart', () => {
  const limits = [Limit.requests(100, { per: 86_400_000 })]
  const limiter = new Limiter(limits)
  limiter.charge({ requests: 40 })
  const again = new Limiter(limits, { saved: limiter.save() })
  assert.equal(again.limits()[0].available, 60)
  assert.throws(() => new Limiter(limits, { saved: Buffer.from('rubbish') }), RangeError)
})

test('weights', () => {
  const limiter = new Limiter([Limit.tokenBucket(1000, { meter: new Weights({ output: 5, cached: 0 }) })], { clock: new ManualClock() })
  limiter.tryAcquire({ input: 100, output: 20, cached: 60 })
  assert.equal(limiter.limits()[0].available, 1000 - 40 - 100)
})

test('a bare bucket', () => {
  const clock = new ManualClock()
  const bucket = new TokenBucket(60, { burst: 2, clock })
  assert.deepEqual([bucket.tryTake(), bucket.tryTake(), bucket.tryTake()], [true, true, false])
  assert.equal(bucket.waitTime(), 1000)
  clock.advance(1000)
  assert.equal(bucket.available, 1)
  bucket.charge(3)
  bucket.refund(1)
  assert.equal(bucket.available, -1)
  bucket.retune(120, { burst: 5 })
  bucket.pause(10_000)
  assert.equal(bucket.waitTime(1), 10_000)
  assert.throws(() => bucket.tryTake(6), Never)
})

test('the provider tells the limits', () => {
  const limiter = new Limiter([Limit.requests(500), Limit.tokens(200_000)], { clock: new ManualClock() })
  const headers = { 'x-ratelimit-limit-requests': '60', 'x-ratelimit-remaining-requests': '10', 'x-ratelimit-reset-requests': '50s' }
  for (let i = 0; i < 2; i++) {
    const permit = limiter.tryAcquire({ input: 10 })
    assert.deepEqual(permit.feedback({ status: 200, headers }), { answerClass: 'ok', retry: false, wait: 0 })
    permit.settle({ input: 10 })
  }
  assert.equal(limiter.limits()[0].amount, 60)
  const permit = limiter.tryAcquire()
  const advice = permit.feedback({ status: 429, headers: new Headers({ 'retry-after': '7' }), body: '{}' })
  assert.equal(advice.answerClass, 'rate')
  assert.equal(advice.retry, true)
  permit.release()
  assert.ok(limiter.waitTime() >= 6000)
})
