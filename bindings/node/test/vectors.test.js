'use strict'
// The language-neutral vectors of the repository.
const assert = require('node:assert/strict')
const { readdirSync, readFileSync } = require('node:fs')
const { join } = require('node:path')
const { test } = require('node:test')
const llmrl = require('..')
const { Limit, Limiter, ManualClock, Router, TokenBucket, Weights, readAnswer } = llmrl

const FOLDER = join(__dirname, '..', '..', '..', 'tests')

const camel = name => name.replace(/_./g, letters => letters[1].toUpperCase())

/** Integers that JSON readers would round are written as strings. */
function big(value) {
  return BigInt(value)
}

// What is exact in a double: 46 days at a time, and what is less than a millisecond apart.
function advance(clock, ns) {
  for (; ns >= 4_000_000_000_000_000n; ns -= 4_000_000_000_000_000n) clock.advance(4e9)
  clock.advance(Number(ns / 1_000_000n))
  clock.advance(Number(ns % 1_000_000n) / 1e6)
}

const ms = ns => Number(ns) / 1e6

function limit(spec) {
  const amount = Number(spec.amount)
  if (spec.kind === 'in_flight') return Limit.inFlight(amount)
  const given = { per: ms(spec.period_ns), startEmpty: spec.start_empty === true }
  if (spec.oversize_when_full) given.oversize = 'whenFull'
  if (spec.burst !== undefined) given.burst = Number(spec.burst)
  if (spec.resets_in_ns !== undefined) given.resetsIn = ms(spec.resets_in_ns)
  if (spec.resolution !== undefined) given[spec.kind === 'sliding_window' ? 'parts' : 'stamps'] = Number(spec.resolution)
  given.meter = camel(spec.meter)
  if (spec.meter === 'weighted_tokens') {
    const { input, output, cached, cache_write } = spec.weights
    given.meter = new Weights({ input: input / 1000, output: output / 1000, cached: cached / 1000, cacheWrite: cache_write / 1000 })
  }
  return Limit[camel(spec.kind)](amount, given)
}

function cost(given) {
  return Object.fromEntries(Object.entries(given).map(([name, value]) => [camel(name), Number(value)]))
}

const WORDS = { Never: 'NEVER', QueueFull: 'FULL', DeadlineExceeded: 'DEADLINE', Closed: 'CLOSED', StalePermit: 'STALE' }
const BAD_ARGUMENT = ['RANGE', 'COST', 'INDEX'] // what C tells apart by number is a RangeError here

function word(error) {
  if (error instanceof RangeError || error instanceof TypeError) return 'BAD_ARGUMENT'
  assert.ok(WORDS[error.name], error)
  return WORDS[error.name]
}

// What stands in the buffer after a poll is what C has said.
const { native, n, bits, OBJECT, TICKET, STATUS, WAIT, TIMEOUT } = require('../lib/native.js')
const { putCost } = require('../lib/args.js')
const { fromStatus } = require('../lib/errors.js')

function limiterDriver(vector, clock) {
  const limiter = new Limiter(vector.limits.map(limit), { maxWaiters: vector.max_waiters ?? 64, clock })
  const permits = new Map()
  const tickets = new Map()
  const onPermit = (step, call) => {
    const permit = permits.get(step.of)
    if (!permit?.held) return ['STALE']
    call(permit)
    return ['OK']
  }
  const polled = name => {
    const status = n[STATUS]
    if (status === 1) return ['PENDING', n[WAIT]]
    if (status === 0) {
      tickets.delete(name)
      permits.set(name, limiter._take())
      return ['OK']
    }
    throw fromStatus(status, 'poll')
  }
  const poll = name => {
    n[OBJECT] = limiter._at
    bits[TICKET] = tickets.get(name)
    native.poll()
    return polled(name)
  }
  return {
    available: () => limiter.limits().map(state => state.available),
    try_acquire(step) {
      const permit = limiter.tryAcquire(cost(step.cost))
      if (permit === null) return ['REFUSED', limiter.waitTime(cost(step.cost)) * 1e6]
      permits.set(step.as, permit)
      return ['OK']
    },
    enqueue(step) {
      putCost('enqueue', cost(step.cost))
      n[TIMEOUT] = step.timeout_ns === undefined ? Infinity : Number(step.timeout_ns)
      n[OBJECT] = limiter._at
      native.enqueue()
      const ticket = bits[TICKET]
      if (n[STATUS] === 1) {
        tickets.set(step.as, ticket)
        return poll(step.as)
      }
      return polled(step.as)
    },
    poll: step => (tickets.has(step.of) ? poll(step.of) : onPermit(step, () => {})),
    settle: step => onPermit(step, permit => permit.settle(cost(step.cost))),
    adjust: step => onPermit(step, permit => permit.adjust(cost(step.cost))),
    release: step => onPermit(step, permit => permit.release()),
    cancel(step) {
      if (!tickets.has(step.of)) return onPermit(step, permit => permit.cancel())
      n[OBJECT] = limiter._at
      bits[TICKET] = tickets.get(step.of)
      native.cancel()
      tickets.delete(step.of)
      if (n[STATUS] < 0) throw fromStatus(n[STATUS], 'cancel')
      return ['OK']
    },
    charge: step => [limiter.charge(cost(step.cost))],
    close: () => [limiter.close()],
    resize: step => [limiter.retune(Number(step.limit), Number(step.slots))],
    pause: step => [limiter.pause(Number(step.limit), ms(step.ns))],
    align: step => [limiter.align(Number(step.limit), ms(step.resets_in_ns))],
    retune: step => [
      limiter.retune(Number(step.limit), Number(step.amount), {
        per: ms(step.period_ns), burst: step.burst === undefined ? undefined : Number(step.burst),
      }),
    ],
  }
}

function bucketDriver(vector, clock) {
  const [spec] = vector.limits
  const bucket = new TokenBucket(Number(spec.amount), {
    per: ms(spec.period_ns), burst: Number(spec.burst), clock, startEmpty: spec.start_empty === true,
    oversize: spec.oversize_when_full ? 'whenFull' : 'reject',
  })
  return {
    available: () => [bucket.available],
    take: step => (bucket.tryTake(Number(step.n)) ? ['OK'] : ['REFUSED', bucket.waitTime(Number(step.n)) * 1e6]),
    refund: step => [bucket.refund(Number(step.n))],
    charge: step => [bucket.charge(Number(step.n))],
    pause: step => [bucket.pause(ms(step.ns))],
    retune: step => [bucket.retune(Number(step.amount), { per: ms(step.period_ns), burst: Number(step.burst) })],
  }
}

let played = 0
for (const name of readdirSync(join(FOLDER, 'vectors')).filter(file => file.endsWith('.json'))) {
  const vector = JSON.parse(readFileSync(join(FOLDER, 'vectors', name), 'utf8'))
  // The bare in-flight counter has no class here.
  if (vector.subject === 'in_flight') continue
  played++
  test(`vector ${name}`, () => {
    const clock = new ManualClock()
    advance(clock, big(vector.start_ns))
    let now = big(vector.start_ns)
    const driver = (vector.subject === 'limiter' ? limiterDriver : bucketDriver)(vector, clock)
    vector.steps.forEach((step, at) => {
      const place = `step ${at + 1}: ${JSON.stringify(step)}`
      advance(clock, big(step.at) - now)
      now = big(step.at)
      let got
      try {
        got = driver[step.op](step)
      } catch (error) {
        got = [word(error)]
      }
      assert.equal(got[0] ?? 'OK', BAD_ARGUMENT.includes(step.is) ? 'BAD_ARGUMENT' : step.is, place)
      if (step.wait_ns !== undefined) {
        const want = step.wait_ns === 'forever' ? Infinity : Number(step.wait_ns)
        // Exact to the nanosecond as far as a double goes.
        assert.ok(got[1] === want || Math.abs(got[1] - want) <= want * 2 ** -51, `${place}: ${got[1]}`)
      }
      if (step.available !== undefined) assert.deepEqual(driver.available(), step.available.map(Number), place)
    })
  })
}

test('there are vectors', () => assert.ok(played > 40))

test('where keys belong', () => {
  const bytes = value => (typeof value === 'string' ? value : new Uint8Array(Buffer.from(value.hex, 'hex')))
  const cases = JSON.parse(readFileSync(join(FOLDER, 'routing', 'vectors.json'), 'utf8'))
  assert.ok(cases.length > 5)
  const limiter = new Limiter([Limit.requests(1)])
  for (const { name, nodes, keys, replicas } of cases) {
    const router = new Router({ replicas })
    const names = nodes.map(node => bytes(node.name))
    nodes.forEach((node, at) => router.add(names[at], limiter, { weight: node.weight }))
    for (const [key, number] of keys) assert.equal(router.nodeFor(bytes(key)).name, names[number], `${JSON.stringify(key)} of ${name}`)
  }
})

for (const file of ['vectors.json', 'examples.json']) {
  test(`what providers say: ${file}`, () => {
    const vectors = JSON.parse(readFileSync(join(FOLDER, 'feedback', file), 'utf8'))
    assert.ok(vectors.length >= 54)
    for (const { id, status, headers, body, now, expect } of vectors) {
      // As they come from the wire: each byte a character.
      const wire = headers.map(header => header.map(text => Buffer.from(text).toString('latin1')))
      const reading = readAnswer({ status, headers: wire, body, now: now === undefined ? undefined : now * 1000 })
      const ns = value => (value === undefined ? null : Math.round(value * 1e6))
      const whole = value => (value === undefined || value === Infinity ? null : Math.floor(value / 1000))
      const snake = value => (value === undefined ? null : value.replace(/[A-Z]/g, letter => `_${letter.toLowerCase()}`))
      const quota = q => ({
        axis: snake(q.meter), pool: snake(q.pool), limit: q.limit ?? null, remaining: q.remaining ?? null, reset_ns: ns(q.reset),
        window_ns: ns(q.window), utilization: q.utilization === undefined ? null : Math.round(q.utilization * 1e6), period_ns: ns(q.period),
        solved_low_s: whole(q.solved?.[0]), solved_high_s: whole(q.solved?.[1]), mislabelled: q.mislabelled, exhausted: q.exhausted,
      })
      const shown = {
        class: snake(reading.answerClass), axis: snake(reading.meter), wait_ns: ns(reading.wait), should_retry: reading.shouldRetry ?? null,
        retryable: reading.retryable, warning: reading.warning, requested: reading.requested ?? null, tripped: reading.tripped ?? null,
      }
      for (const [key, want] of Object.entries(expect)) {
        if (key === 'quotas') {
          assert.equal(reading.quotas.length, want.length, id)
          want.forEach((fields, at) => {
            const got = quota(reading.quotas[at])
            for (const [field, value] of Object.entries(fields)) compare(got[field], value, `${id}: quotas[${at}].${field}`)
          })
        } else compare(shown[key], want, `${id}: ${key}`)
      }
    }
  })
}

/** Large numbers to the 53 bits of a double. */
function compare(got, want, place) {
  assert.notEqual(got, undefined, place)
  assert.equal(got, typeof want === 'string' && /^\d+$/.test(want) ? Number(want) : want, place)
}
