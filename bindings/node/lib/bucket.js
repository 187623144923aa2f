'use strict'
// Bare token buckets, without a queue: one, and one for each key.
const { native, n, OBJECT, REQUESTS, STATUS, WAIT, RESULT, OK, REFUSED } = require('./native.js')
const { MAX_PERIOD, choice, duration, got, key: keyOf, options, whole } = require('./args.js')
const { FULL, MapFull, NEVER, Never, fromStatus } = require('./errors.js')
const { Limit } = require('./limit.js')
const { ManualClock, made } = require('./limiter.js')

function refusal(status, what, amount, burst) {
  if (status === NEVER) return new Never(`${what}: n of ${amount} can never fit a burst of ${burst}; take less at once or use a larger burst`)
  if (status === FULL) {
    return new MapFull(`${what}: too many buckets are in use; ask again later, or use a larger capacity, or overflow: 'share'`)
  }
  return fromStatus(status, what)
}

class TokenBucket {
  #external
  #at
  #burst

  constructor(amount, given) {
    const limits = Limit.pack('TokenBucket', [Limit.tokenBucket(amount, given)])
    const { clock, burst } = options('TokenBucket', given)
    n[RESULT] = ManualClock.number('TokenBucket', clock)
    this.#external = made(native.newBucket(limits), 'TokenBucket')
    this.#at = n[OBJECT]
    this.#burst = burst ?? amount
  }

  tryTake(amount = 1) {
    if (typeof amount !== 'number' || amount >>> 0 !== amount) whole('n', amount, 1)
    n[OBJECT] = this.#at
    n[REQUESTS] = amount
    native.bucketTake()
    const status = n[STATUS]
    if (status >= 0) return status === OK
    throw this.#error(status, 'tryTake', amount)
  }

  waitTime(amount = 1) {
    this.#call('waitTime', amount, native.bucketWait)
    return n[WAIT] / 1e6
  }

  refund(amount) {
    this.#call('refund', amount, native.bucketRefund)
  }

  charge(amount) {
    this.#call('charge', amount, native.bucketCharge)
  }

  retune(amount, given) {
    const { per = 60_000, burst = amount } = options('retune', given)
    n.set([0, whole('amount', amount, 1), duration('per', per, 1, MAX_PERIOD), whole('burst', burst, 1)], RESULT)
    n[OBJECT] = this.#at
    native.retune()
    if (n[STATUS] < 0) throw fromStatus(n[STATUS], 'retune')
    this.#burst = burst
  }

  pause(ms) {
    n[WAIT] = duration('pause', ms)
    n[OBJECT] = this.#at
    native.pause()
  }

  get available() {
    n[OBJECT] = this.#at
    native.bucketAvailable()
    return n[RESULT]
  }

  #call(what, amount, call) {
    n[REQUESTS] = whole('n', amount, 1)
    n[OBJECT] = this.#at
    call()
    if (n[STATUS] < 0) throw this.#error(n[STATUS], what, amount)
  }

  #error(status, what, amount) {
    whole('n', amount, 1)
    return refusal(status, what, amount, this.#burst)
  }
}

const MAX_KEY = 65536

class BucketMap {
  #external
  #at
  #burst

  constructor(amount, given) {
    const { clock, burst, startEmpty, capacity = 65536, overflow = 'share' } = options('BucketMap', given)
    if (startEmpty) throw new RangeError(`BucketMap: startEmpty must be false, as a key that was not seen before has a full bucket, got ${got(startEmpty)}`)
    const limits = Limit.pack('BucketMap', [Limit.tokenBucket(amount, given)])
    n.set([
      ManualClock.number('BucketMap', clock), whole('BucketMap: capacity', capacity, 1, 2 ** 30),
      choice('BucketMap: overflow', overflow, ['share', 'refuse']),
    ], RESULT)
    this.#external = made(native.newBucketMap(limits), 'BucketMap')
    this.#at = n[OBJECT]
    this.#burst = burst ?? amount
  }

  tryTake(key, amount = 1) {
    this.#call('tryTake', key, amount, native.mapTake)
    return n[STATUS] !== REFUSED
  }

  waitTime(key, amount = 1) {
    this.#call('waitTime', key, amount, native.mapWait)
    return n[WAIT] / 1e6
  }

  refund(key, amount) {
    this.#call('refund', key, amount, native.mapRefund)
  }

  charge(key, amount) {
    this.#call('charge', key, amount, native.mapCharge)
  }

  available(key) {
    this.#call('available', key, 1, native.mapAvailable)
    return n[RESULT]
  }

  stats() {
    n[OBJECT] = this.#at
    native.stats()
    const [keys, evictions, overflows] = n.subarray(RESULT)
    return { keys, evictions, overflows }
  }

  #call(what, key, amount, call) {
    const bytes = keyOf(key, MAX_KEY)
    n[REQUESTS] = whole('n', amount, 1)
    n[OBJECT] = this.#at
    call(bytes)
    if (n[STATUS] < 0) throw refusal(n[STATUS], what, amount, this.#burst)
  }
}

module.exports = { BucketMap, TokenBucket }
