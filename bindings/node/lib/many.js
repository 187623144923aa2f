'use strict'
// More than one limiter: one for each key, one above the other, shared fairly, and by name.
const { native, n, OBJECT, TIMEOUT, STATUS, WOKEN, LEVEL, COUNT, RESULT, OK, REFUSED } = require('./native.js')
const { MAX_TABLE, flag, got, key: keyOf, options, putAsk, putRequest, shown, timeout, whole } = require('./args.js')
const { FULL, MapFull, RANGE, fromStatus } = require('./errors.js')
const { Hub, Line, drain } = require('./hub.js')
const { Limit } = require('./limit.js')
const { Attached, Limiter, Permit, asked, checked, limiterOf, made, putOptions } = require('./limiter.js')

const { _tried: tried, _asked: answered } = Limiter.prototype

const MAX_KEY = 1024
const NO_LIMITS = new Uint8Array(0)

/** A limiter for each key. */
class LimiterMap {
  #external
  #at
  #hub

  constructor(limits, given) {
    const { capacity = 10_000, shared = 16, maxWaiters = 256, maxPermits = 256, clock, raiseLimits = false } = options('LimiterMap', given)
    const packed = Limit.pack('LimiterMap', limits)
    putOptions('LimiterMap', clock, raiseLimits, maxWaiters, maxPermits,
      whole('LimiterMap: capacity', capacity, 1, 16777216), whole('LimiterMap: shared', shared, 0, 65536))
    this.#external = made(native.newMap(packed), 'LimiterMap')
    this.#at = n[OBJECT]
    this.#hub = new Hub(this.#at, n[COUNT] === 0)
  }

  limiter(key) {
    const bytes = keyOf(key, MAX_KEY)
    n[OBJECT] = this.#at
    const external = native.mapLimiter(bytes)
    if (n[STATUS] === FULL) throw new MapFull('limiter: all limiters are in use; try later, or use a larger capacity, or let keys share')
    if (n[STATUS] !== OK) throw fromStatus(n[STATUS], 'limiter')
    const isShared = n[RESULT] !== 0
    return new KeyLimiter(new Attached(external, this.#hub), isShared, this)
  }

  setLimits(key, limits) {
    const bytes = keyOf(key, MAX_KEY)
    const packed = limits === undefined ? NO_LIMITS : Limit.pack('setLimits', limits)
    n[OBJECT] = this.#at
    const message = native.mapSetLimits(bytes, packed)
    if (n[STATUS] !== OK && message) throw new RangeError(`setLimits: ${message}`)
    checked('setLimits', this)
  }

  stats() {
    n[OBJECT] = this.#at
    native.stats()
    const [keys, shared, created, evictions, full, granted, refused, waiting, inFlight] = n.subarray(RESULT)
    return { keys, shared, created, evictions, full, granted, refused, waiting, inFlight }
  }

  top(count = 10, by = 'use') {
    if (by !== 'use' && by !== 'waiting') throw new RangeError(`by must be 'use' or 'waiting', got ${got(by)}`)
    n[RESULT] = whole('count', count, 0, 1000)
    n[RESULT + 1] = by === 'use' ? 0 : 1
    n[OBJECT] = this.#at
    const flat = native.mapTop()
    const keys = []
    for (let i = 0; i < flat.length; i += 6) {
      const [key, keySize, granted, refused, waiting, inFlight] = flat.slice(i, i + 6)
      keys.push({ key, keySize, granted, refused, waiting, inFlight })
    }
    return keys
  }

  close() {
    n[OBJECT] = this.#at
    native.close()
    drain()
  }

  /** @internal */
  _error(status, what) {
    return fromStatus(status, what)
  }
}

class KeyLimiter extends Limiter {
  isShared
  #map // which its wakes come through

  constructor(attached, isShared, map) {
    super(attached)
    this.isShared = isShared
    this.#map = map
  }
}

/** Limiters one above the other: a request needs all of them. */
class Chain {
  _at
  _hub
  _line = new Line()
  #external
  #levels

  constructor(limiters, given) {
    const { maxPermits = 4096 } = options('Chain', given)
    if (!Array.isArray(limiters) || limiters.length < 1 || limiters.length > 8) {
      throw new RangeError(`Chain: limiters must be an array of 1 to 8, got ${Array.isArray(limiters) ? limiters.length : got(limiters)}`)
    }
    this.#levels = limiters.map((limiter, at) => limiterOf(`Chain: limiters[${at}]`, limiter))
    n[TIMEOUT] = whole('Chain: maxPermits', maxPermits, 1, MAX_TABLE)
    n[COUNT] = limiters.length
    n.set(this.#levels.map(limiter => limiter._at), RESULT)
    this.#external = made(native.newChain(), 'Chain')
    this._at = n[OBJECT]
    this._hub = new Hub(this._at, n[COUNT] === 0)
  }

  tryAcquire(cost) {
    putAsk('tryAcquire', cost)
    n[OBJECT] = this._at
    native.tryAcquire()
    return tried.call(this)
  }

  async acquire(request) {
    const signal = putRequest('acquire', request)
    n[OBJECT] = this._at
    native.enqueue()
    return answered.call(this, signal)
  }

  waitTime(cost) {
    return Math.max(...this.#levels.map(limiter => limiter.waitTime(cost)))
  }

  /** @internal */
  _take() {
    return new Permit(this)
  }

  /** @internal */
  _error(status, what, cost) {
    const level = n[LEVEL]
    const limiter = this.#levels[level]
    const error = fromStatus(status, what, limiter?.limits(), cost)
    // Of settling and the like no level is told.
    if (limiter !== undefined && (what === 'acquire' || what === 'tryAcquire')) error.level = level
    return error
  }
}

/** One limiter that many share, each by weight. */
class FairQueue {
  _at
  _hub
  #external
  #limiter

  constructor(limiter, given) {
    const { aging = 60_000, passes = 0, maxWaiters = 65536, maxPermits = 65536 } = options('FairQueue', given)
    this.#limiter = limiterOf('FairQueue: limiter', limiter)
    // 0 is the library's default; a nanosecond is at once.
    const ns = aging === null ? Infinity : Math.max(1, timeout('FairQueue: aging', aging))
    n.set([
      whole('FairQueue: passes', passes, 0, 1000), whole('FairQueue: maxWaiters', maxWaiters, 1, MAX_TABLE),
      whole('FairQueue: maxPermits', maxPermits, 1, MAX_TABLE),
    ], RESULT)
    n[TIMEOUT] = ns
    n[OBJECT] = limiter._at
    this.#external = made(native.newFair(), 'FairQueue')
    this._at = n[OBJECT]
    this._hub = new Hub(this._at, n[COUNT] === 0)
  }

  get limiter() {
    return this.#limiter
  }

  tryAcquire(cost) {
    putAsk('tryAcquire', cost)
    n[OBJECT] = this._at
    native.tryAcquire()
    return tried.call(this)
  }

  async acquire(key, request) {
    const bytes = keyOf(key, MAX_KEY)
    const signal = putRequest('acquire', request)
    const { weight = 1, batch = false } = request ?? {}
    n[RESULT] = whole('weight', weight, 1, 1_000_000)
    n[RESULT + 1] = flag('batch', batch) ? 1 : 0
    n[OBJECT] = this._at
    native.enqueueFor(bytes)
    return answered.call(this, signal)
  }

  stats() {
    n[OBJECT] = this._at
    native.stats()
    const [waiting, batch, keys, aged, passed] = n.subarray(RESULT)
    return { waiting, batch, keys, aged, passed }
  }

  /** @internal */
  _take() {
    return new Permit(this)
  }

  /** @internal */
  _error(status, what, cost) {
    return fromStatus(status, what, this.#limiter.limits(), cost)
  }
}

/** Limiters by name. */
class Router {
  _at
  _hub
  #external
  // By the number that answers name them by. Those that were removed stay for those who wait at them still.
  #nodes = new Map()

  constructor(given) {
    const { replicas } = options('Router', given)
    n[RESULT] = replicas === undefined ? 0 : whole('Router: replicas', replicas, 1, 10_000)
    this.#external = made(native.newRouter(), 'Router')
    this._at = n[OBJECT]
    // Of what clock they are is known when there are nodes.
    this._hub = new Hub(this._at, false)
  }

  add(name, limiter, given) {
    const { weight = 1 } = options('add', given)
    const bytes = keyOf(name, 255, 'name')
    limiterOf('add: limiter', limiter)
    n[RESULT] = limiter._at
    n[RESULT + 1] = whole('weight', weight, 0, 1_000_000)
    n[OBJECT] = this._at
    const message = native.routerAdd(bytes)
    if (n[STATUS] === RANGE) throw new RangeError(`add: ${message}`)
    checked('add', this)
    this.#nodes.set(n[LEVEL], Object.freeze({ name, limiter }))
    this._hub.timed ||= limiter._hub.timed
  }

  remove(name) {
    const bytes = keyOf(name, 255, 'name')
    n[OBJECT] = this._at
    native.routerRemove(bytes)
    checked('remove', this)
    const same = Buffer.from(bytes)
    for (const [number, node] of this.#nodes) {
      if (same.equals(Buffer.from(node.name)) && this._hub.waiting.size === 0) this.#nodes.delete(number)
    }
  }

  setWeight(name, weight) {
    const bytes = keyOf(name, 255, 'name')
    n[RESULT + 1] = whole('weight', weight, 0, 1_000_000)
    n[OBJECT] = this._at
    native.routerSetWeight(bytes)
    checked('setWeight', this)
  }

  nodeFor(key) {
    const bytes = keyOf(key, 2 ** 30, 'key', 0)
    n[OBJECT] = this._at
    native.routerNodeFor(bytes)
    checked('nodeFor', this)
    return this.#nodes.get(n[LEVEL])
  }

  tryAcquire(cost) {
    putAsk('tryAcquire', cost)
    const key = routeKey(cost)
    n[OBJECT] = this._at
    native.tryRoute(key)
    return tried.call(this)
  }

  async acquire(request) {
    const signal = putRequest('acquire', request)
    const key = routeKey(request)
    n[OBJECT] = this._at
    native.enqueueFor(key)
    return answered.call(this, signal)
  }

  /** @internal */
  _take() {
    const node = this.#nodes.get(n[LEVEL])
    return { node, permit: new Permit(node.limiter) }
  }

  /** @internal */
  _error(status, what, cost) {
    return fromStatus(status, what, [], cost)
  }
}

function routeKey(request) {
  const key = request?.key
  return key === undefined ? undefined : keyOf(key, 2 ** 30, 'key', 0)
}

module.exports = { Chain, FairQueue, LimiterMap, Router }
