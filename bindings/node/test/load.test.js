'use strict'
const assert = require('node:assert/strict')
const { test } = require('node:test')
const { Limit, Limiter, ManualClock } = require('..')
const { settled } = require('./helpers.js')

test('10,000 wait, and go in order', async () => {
  const clock = new ManualClock()
  const limiter = new Limiter([Limit.requests(60_000, { burst: 1 })], { clock })
  limiter.tryAcquire()
  const order = []
  const all = Array.from({ length: 10_000 }, (_, i) => limiter.acquire().then(() => order.push(i)))
  assert.equal(limiter.stats().waiting, 10_000)
  for (let i = 0; i < 10_000; i++) clock.advance(1)
  await Promise.all(all)
  assert.deepEqual(order, [...Array(10_000).keys()])
  assert.equal(limiter.stats().waiting, 0)
})

test('10,000 wait for one slot, each for the one before', async () => {
  const limiter = new Limiter([Limit.inFlight(1)])
  let running = 0
  let most = 0
  const order = []
  await Promise.all(Array.from({ length: 10_000 }, async (_, i) => {
    const permit = await limiter.acquire()
    most = Math.max(most, ++running)
    order.push(i)
    await undefined
    running--
    permit.release()
  }))
  assert.equal(most, 1)
  assert.deepEqual(order, [...Array(10_000).keys()])
})

test('a storm of cancellations: one signal for 10,000', async () => {
  const clock = new ManualClock()
  const limiter = new Limiter([Limit.requests(60, { burst: 1 })], { clock })
  limiter.tryAcquire()
  const abort = new AbortController()
  const all = Array.from({ length: 10_000 }, (_, i) => limiter.acquire(i % 2 ? {} : { signal: abort.signal }).then(() => i, () => -1))
  abort.abort()
  clock.advance(1000)
  assert.equal(await all[1], 1)
  limiter.close()
  const ends = await Promise.all(all)
  assert.equal(ends.filter(end => end === -1).length, 9999)
})

test('cancellations at any moment lose no slot', async () => {
  const limiter = new Limiter([Limit.inFlight(3)])
  let seed = 1
  const random = most => (seed = (seed * 48271) % 2147483647) % most
  let ran = 0
  await Promise.all(Array.from({ length: 3000 }, async () => {
    const abort = new AbortController()
    for (let i = random(20); i > 0; i--) await undefined
    const waiting = limiter.acquire({ signal: abort.signal })
    const late = random(3) === 0 ? (async () => { for (let i = random(40); i > 0; i--) await undefined; abort.abort() })() : undefined
    try {
      const permit = await waiting
      assert.ok(limiter.stats().inFlight <= 3)
      ran++
      await undefined
      permit.release()
    } catch (error) {
      assert.equal(error.name, 'AbortError')
    }
    await late
  }))
  assert.ok(ran >= 2000 && ran < 3000, `${ran}`)
  assert.equal(limiter.stats().inFlight, 0)
  assert.equal(limiter.stats().waiting, 0)
})

test('memory is flat over a million acquisitions', async () => {
  const limiter = new Limiter([Limit.requests(2 ** 40 - 1, { per: 86_400_000 }), Limit.inFlight(10)])
  const round = async () => {
    for (let i = 0; i < 500_000; i++) {
      limiter.tryAcquire({ input: 1 }).settle({ input: 1 })
      const permit = await limiter.acquire()
      permit.release()
    }
    global.gc()
    return process.memoryUsage()
  }
  const first = await round()
  const second = await round()
  assert.equal(limiter.stats().granted, 2_000_000)
  // A word left behind by each of a million would be 8 MB.
  assert.ok(second.heapUsed - first.heapUsed < 4 << 20, `heap ${first.heapUsed} ${second.heapUsed}`)
  assert.ok(second.rss - first.rss < 16 << 20, `rss ${first.rss} ${second.rss}`)
})

test('limiters that nobody has any more are freed', async () => {
  const make = () => {
    for (let i = 0; i < 300; i++) {
      const limiter = new Limiter([Limit.inFlight(1)], { maxWaiters: 16, maxPermits: 16 })
      const permit = limiter.tryAcquire()
      const waiting = limiter.acquire()
      permit.release()
      waiting.then(next => next.release())
    }
  }
  const rounds = []
  for (let i = 0; i < 12; i++) {
    make()
    await settled()
    global.gc()
    await settled() // finalizers run in the event loop
    await settled()
    rounds.push(process.memoryUsage().rss)
  }
  // Six rounds of limiters that stay would take 1800 times 15 KiB.
  assert.ok(rounds[11] - rounds[5] < 8 << 20, rounds.join(' '))
})
