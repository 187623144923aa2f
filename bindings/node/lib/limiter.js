'use strict'
const { native, n, words, OBJECT, TICKET_LOW, TIMEOUT, STATUS, WAIT, WOKEN, COUNT, RESULT, OK, PENDING, REFUSED } = require('./native.js')
const { MAX_PERIOD, MAX_TABLE, duration, flag, got, options, putAsk, putCost, putRequest, whole } = require('./args.js')
const { fromStatus, LimitError, RANGE, SAVED, StalePermit } = require('./errors.js')
const { advice, putAnswer } = require('./feedback.js')
const { Hub, Line, drain, wait } = require('./hub.js')
const { KINDS, Limit, MAX_IN_FLIGHT, METERS } = require('./limit.js')

const MODES = ['normal', 'throttled', 'recovering']

/** Throws for a status below zero, and looks after those whom the call has woken. */
function checked(what, owner) {
  const status = n[STATUS]
  if (n[WOKEN] !== 0) drain()
  if (status < 0) throw owner._error(status, what)
}

/** A request that was admitted, until it is settled, released or cancelled. */
class Permit {
  #owner
  #low
  #high
  #held = true

  // Of what stands in the buffer.
  constructor(owner) {
    if (owner?._at === undefined) throw new TypeError('a Permit is made by acquire() and tryAcquire()')
    this.#owner = owner
    this.#low = words[TICKET_LOW]
    this.#high = words[TICKET_LOW + 1]
  }

  get held() {
    return this.#held
  }

  settle(used) {
    putCost('settle', used)
    this.#call(native.settle, 'settle')
    this.#held = false
  }

  adjust(soFar) {
    putCost('adjust', soFar)
    this.#call(native.adjust, 'adjust')
  }

  release() {
    this.#call(native.release, 'release')
    this.#held = false
  }

  cancel() {
    this.#call(native.cancel, 'cancel')
    this.#held = false
  }

  feedback(answer) {
    const { headers, body } = putAnswer('feedback', answer)
    this.#call(() => native.feedback(headers, body), 'feedback')
    return advice()
  }

  [Symbol.dispose ?? Symbol.for('Symbol.dispose')]() {
    if (this.#held) this.release()
  }

  #call(call, what) {
    if (!this.#held) throw fromStatus(-11, what)
    n[OBJECT] = this.#owner._at
    words[TICKET_LOW] = this.#low
    words[TICKET_LOW + 1] = this.#high
    call()
    const status = n[STATUS]
    if (status < 0) {
      const error = this.#owner._error(status, what)
      if (error instanceof StalePermit) this.#held = false
      throw error
    }
    if (n[WOKEN] !== 0) {
      const [a, b, c] = [n[RESULT], n[RESULT + 1], n[WAIT]]
      drain()
      // What advice() reads.
      n[RESULT] = a
      n[RESULT + 1] = b
      n[WAIT] = c
    }
  }
}

/** Several limits that admit a request all together or not at all, and one queue. */
class Limiter {
  _at
  _hub
  _line = new Line()
  #external
  #fetch

  constructor(limits, given) {
    if (limits instanceof Attached) {
      this.#external = limits.external
      this._at = n[OBJECT]
      this._hub = limits.hub ?? new Hub(this._at, n[COUNT] === 0)
      return
    }
    const { maxWaiters = 65536, maxPermits = 65536, clock, saved, raiseLimits = false } = options('Limiter', given)
    const packed = Limit.pack('Limiter', limits)
    if (saved !== undefined && !(saved instanceof Uint8Array)) {
      throw new TypeError(`Limiter: saved must be what save() has returned, got ${got(saved)}`)
    }
    putOptions('Limiter', clock, raiseLimits, maxWaiters, maxPermits)
    this.#external = made(native.newLimiter(packed, saved ?? new Uint8Array(0)), 'Limiter')
    this._at = n[OBJECT]
    this._hub = new Hub(this._at, n[COUNT] === 0)
  }

  /** The limiter that another thread has shared. */
  static from(token) {
    if (typeof token !== 'string') throw new TypeError(`token must be what share() has returned, a string, got ${got(token)}`)
    const external = native.from(token)
    if (n[STATUS] !== OK) {
      throw new RangeError('token is not of a limiter that this process shares: it was closed, or the token is of another process')
    }
    return new Limiter(new Attached(external))
  }

  share() {
    n[OBJECT] = this._at
    const token = native.share()
    if (n[STATUS] !== OK) throw new TypeError('share: a limiter of a LimiterMap cannot be shared; share one that was made by itself')
    return token
  }

  tryAcquire(cost) {
    putAsk('tryAcquire', cost)
    n[OBJECT] = this._at
    native.tryAcquire()
    return this._tried()
  }

  async acquire(request) {
    const signal = putRequest('acquire', request)
    n[OBJECT] = this._at
    native.enqueue()
    return this._asked(signal)
  }

  /** @internal What came of tryAcquire. */
  _tried() {
    const status = n[STATUS]
    if (status === OK) {
      const permit = this._take()
      if (n[WOKEN] !== 0) drain()
      return permit
    }
    const error = status === REFUSED ? null : this._error(status, 'tryAcquire', asked())
    if (n[WOKEN] !== 0) drain()
    if (error) throw error
    return null
  }

  /** @internal What came of enqueue. */
  _asked(signal) {
    const status = n[STATUS]
    if (status === OK) {
      const permit = this._take()
      if (n[WOKEN] !== 0) drain()
      return permit
    }
    if (status === PENDING) return wait(this, n[TIMEOUT], signal)
    const error = this._error(status, 'acquire', asked())
    if (n[WOKEN] !== 0) drain()
    throw error
  }

  /** @internal */
  _take() {
    return new Permit(this)
  }

  /** @internal */
  _error(status, what, cost) {
    return fromStatus(status, what, this.limits(), cost)
  }

  waitTime(cost) {
    putAsk('waitTime', cost)
    n[OBJECT] = this._at
    native.outlook()
    const ns = n[WAIT]
    checked('waitTime', this)
    return ns / 1e6
  }

  charge(cost) {
    putCost('charge', cost, 0)
    n[OBJECT] = this._at
    native.charge()
    checked('charge', this)
  }

  retune(index, amount, given) {
    const { per = 60_000, burst } = options('retune', given)
    const { kind } = this.#limit('retune', index)
    if (burst !== undefined && kind !== 'tokenBucket') throw new RangeError(`retune: burst must be undefined, as ${kind} has none, got ${burst}`)
    const most = kind === 'inFlight' ? MAX_IN_FLIGHT : undefined
    const numbers = [index, whole('amount', amount, 1, most), duration('per', per, 1, MAX_PERIOD), 0]
    if (kind === 'inFlight') numbers[2] = 0
    if (kind === 'tokenBucket') numbers[3] = whole('burst', burst ?? amount, 1)
    n[OBJECT] = this._at
    n.set(numbers, RESULT)
    native.retune()
    checked('retune', this)
  }

  pause(index, ms) {
    this.#limit('pause', index)
    const ns = duration('pause', ms)
    n[OBJECT] = this._at
    n[RESULT] = index
    n[WAIT] = ns
    native.pause()
    checked('pause', this)
  }

  align(index, resetsIn) {
    const { kind, per } = this.#limit('align', index)
    const ns = kind === 'fixedWindow' ? duration('resetsIn', resetsIn, 1, per) : 0
    n[OBJECT] = this._at
    n[RESULT] = index
    n[WAIT] = ns
    native.align()
    checked('align', this)
  }

  close() {
    n[OBJECT] = this._at
    native.close()
    native.unpin()
    drain()
  }

  stats() {
    n[OBJECT] = this._at
    native.stats()
    const [granted, refused, waiting, inFlight, cancelled, timedOut, wakes, total, longest] = n.subarray(RESULT)
    return { granted, refused, waiting, inFlight, cancelled, timedOut, wakes, waitTotal: total / 1e6, waitMax: longest / 1e6 }
  }

  limits() {
    const states = []
    for (;;) {
      n[OBJECT] = this._at
      n[RESULT] = states.length
      native.limitState()
      if (n[STATUS] !== OK) return states
      const [kind, meter, amount, per, burst, available, paused, mode] = n.subarray(RESULT)
      states.push({
        kind: KINDS[kind], meter: METERS[meter], amount, per: per / 1e6, burst, available, paused: paused / 1e6, mode: MODES[mode],
      })
    }
  }

  save() {
    n[OBJECT] = this._at
    const saved = native.save()
    checked('save', this)
    return saved
  }

  get fetch() {
    // Here and not above: it needs this module.
    this.#fetch ??= require('./fetch.js').limitFetch(this)
    return this.#fetch
  }

  #limit(what, index) {
    const states = this.limits()
    whole('index', index, 0, states.length - 1)
    return states[index]
  }
}

/** The cost that stands in the buffer. */
function asked() {
  return [n[1], n[2], n[3]]
}

/** What is made of an external that is there already; its number stands in the buffer. */
class Attached {
  constructor(external, hub) {
    this.external = external
    this.hub = hub
  }
}

function putOptions(what, clock, raiseLimits, maxWaiters, maxPermits, ...more) {
  n.set([
    clockNumber(what, clock), flag(`${what}: raiseLimits`, raiseLimits) ? 1 : 0,
    whole(`${what}: maxWaiters`, maxWaiters, 1, MAX_TABLE), whole(`${what}: maxPermits`, maxPermits, 1, MAX_TABLE), ...more,
  ], RESULT)
}

/** What a constructor of the addon has returned; throws what it says instead. */
function made(external, what) {
  const status = n[STATUS]
  if (status === OK) return external
  if (status === RANGE || status === SAVED) throw new RangeError(`${what}: ${external || 'a value is outside its accepted range'}`)
  throw fromStatus(status, what)
}

/** A clock moved by hand, for tests. */
class ManualClock {
  #external
  #at

  constructor(start = 0) {
    n[WAIT] = duration('start', start, 0, 4.6e12)
    this.#external = native.newClock()
    this.#at = n[OBJECT]
  }

  advance(ms) {
    const ns = duration('advance', ms, 0, 4.6e12)
    n[OBJECT] = this.#at
    n[WAIT] = ns
    native.advance()
    if (n[WOKEN] !== 0) drain()
  }

  get now() {
    n[OBJECT] = this.#at
    native.clockNow()
    return n[WAIT] / 1e6
  }

  /** @internal */
  static number(what, clock) {
    if (clock === undefined) return -1
    if (typeof clock !== 'object' || clock === null || !(#at in clock)) throw new TypeError(`${what}: clock must be a ManualClock, got ${got(clock)}`)
    return clock.#at
  }
}

const clockNumber = ManualClock.number

/** Whether something is a limiter of this module. */
function limiterOf(field, value) {
  if (!(value instanceof Limiter)) throw new TypeError(`${field} must be a Limiter, got ${got(value)}`)
  return value
}

module.exports = { Attached, Limiter, LimitError, ManualClock, Permit, asked, checked, limiterOf, made, putOptions }
