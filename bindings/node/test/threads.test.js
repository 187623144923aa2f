'use strict'
const assert = require('node:assert/strict')
const { join } = require('node:path')
const { test } = require('node:test')
const { once } = require('node:events')
const { Worker } = require('node:worker_threads')
const { Closed, Limit, Limiter, ManualClock, LimiterMap } = require('..')

const INDEX = JSON.stringify(join(__dirname, '..'))

const exits = new Map()

function worker(body, workerData) {
  const code = `
    const { parentPort, workerData } = require('node:worker_threads')
    const { Limit, Limiter } = require(${INDEX})
    ;(async () => { ${body} })()`
  const thread = new Worker(code, { eval: true, workerData })
  // From the beginning: it may end before anybody asks.
  exits.set(thread, once(thread, 'exit').then(([status]) => status))
  return thread
}

const message = async thread => (await once(thread, 'message'))[0]
const ended = thread => exits.get(thread)

test('workers share a limiter', async () => {
  const limiter = new Limiter([Limit.inFlight(2)])
  const token = limiter.share()
  assert.equal(token, limiter.share())
  const inside = new Int32Array(new SharedArrayBuffer(8))
  const body = `
    const limiter = Limiter.from(workerData.token)
    for (let i = 0; i < 300; i++) {
      const permit = await limiter.acquire()
      const now = Atomics.add(workerData.inside, 0, 1) + 1
      if (now > Atomics.load(workerData.inside, 1)) Atomics.store(workerData.inside, 1, now)
      await new Promise(resolve => setImmediate(resolve))
      Atomics.sub(workerData.inside, 0, 1)
      permit.release()
    }
    parentPort.postMessage('done')`
  const threads = [1, 2, 3].map(() => worker(body, { token, inside }))
  for (const exit of await Promise.all(threads.map(ended))) assert.equal(exit, 0)
  assert.equal(limiter.stats().granted, 900)
  assert.equal(limiter.stats().inFlight, 0)
  assert.ok(inside[1] >= 1 && inside[1] <= 2, `${inside[1]}`)
})

test('a worker lets the main thread in', async () => {
  const limiter = new Limiter([Limit.inFlight(1)])
  const thread = worker(`
    const permit = await Limiter.from(workerData).acquire()
    parentPort.postMessage('held')
    parentPort.once('message', () => { permit.release(); parentPort.close() })`, limiter.share())
  assert.equal(await message(thread), 'held')
  const waiting = limiter.acquire()
  thread.postMessage('let go')
  ;(await waiting).release()
  await ended(thread)
})

test('a worker that ends gives its permits and its places back', async () => {
  const limiter = new Limiter([Limit.inFlight(2), Limit.requests(1000, { per: 3_600_000 })])
  const thread = worker(`
    const limiter = Limiter.from(workerData)
    await limiter.acquire()
    await limiter.acquire()
    limiter.acquire()
    limiter.acquire({ timeout: 3600000 })
    parentPort.postMessage('waits')
    setInterval(() => {}, 1000)`, limiter.share())
  await message(thread)
  assert.equal(limiter.stats().waiting, 2)
  const waiting = limiter.acquire()
  await thread.terminate()
  ;(await waiting).release()
  assert.equal(limiter.stats().inFlight, 0)
  assert.equal(limiter.stats().waiting, 0)
  // What was held was perhaps sent; what only waited was not.
  assert.equal(limiter.limits()[1].available, 1000 - 3)
})

test('a worker ends in the middle of everything', async () => {
  const limiter = new Limiter([Limit.inFlight(3)])
  for (let i = 0; i < 8; i++) {
    const thread = worker(`
      const limiter = Limiter.from(workerData)
      const own = new Limiter([Limit.inFlight(1)])
      parentPort.postMessage('runs')
      for (;;) await Promise.all([limiter, limiter, limiter, limiter, own, own].map(async one => {
        const permit = await one.acquire()
        await new Promise(resolve => setImmediate(resolve))
        permit.release()
      }))`, limiter.share())
    await message(thread)
    const mine = [1, 2, 3, 4].map(async () => (await limiter.acquire()).release())
    await thread.terminate()
    await Promise.all(mine)
    assert.equal(limiter.stats().inFlight, 0)
  }
})

test('a worker that made the limiter may end before others do', async () => {
  const thread = worker(`
    const limiter = new Limiter([Limit.requests(60, { burst: 1 })])
    limiter.tryAcquire()
    parentPort.postMessage(limiter.share())`)
  const limiter = Limiter.from(await message(thread))
  await ended(thread)
  assert.equal(limiter.tryAcquire(), null)
  limiter.close()
})

test('closing reaches everybody, and ends the token', async () => {
  const limiter = new Limiter([Limit.inFlight(1)])
  const token = limiter.share()
  limiter.tryAcquire()
  const thread = worker(`
    const waiting = Limiter.from(workerData).acquire()
    parentPort.postMessage('waits')
    await waiting.catch(error => parentPort.postMessage(error.code))`, token)
  assert.equal(await message(thread), 'waits')
  limiter.close()
  assert.equal(await message(thread), 'LLMRL_CLOSED')
  await ended(thread)
  assert.throws(() => Limiter.from(token), RangeError)
  assert.throws(() => limiter.tryAcquire(), Closed)
})

test('manual clocks go along; limiters of a map do not', async () => {
  const clock = new ManualClock()
  const limiter = new Limiter([Limit.requests(60, { burst: 1 })], { clock })
  limiter.tryAcquire()
  const other = Limiter.from(limiter.share())
  const waiting = other.acquire()
  clock.advance(1000)
  ;(await waiting).release()
  assert.throws(() => new LimiterMap([Limit.requests(1)]).limiter('a').share(), TypeError)
})
