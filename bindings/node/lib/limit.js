'use strict'
const { endianness } = require('node:os')
const { MAX_PERIOD, choice, duration, flag, got, options, shown, whole } = require('./args.js')

// As the numbers in llmrl_limit.kind and .meter.
const KINDS = ['', 'tokenBucket', 'inFlight', 'pacing', 'fixedWindow', 'slidingWindowCounter', 'slidingWindow', 'slidingWindowLog']
const METERS = ['inFlight', 'requests', 'tokens', 'inputTokens', 'outputTokens', 'weightedTokens']
const WEIGHTED = 5
const MAX_IN_FLIGHT = 2 ** 19 - 1
const SIZE = 64
const LITTLE = endianness() === 'LE'

/** What a token of each class counts, as the meter of a limit: 0 to 100, with at most three decimals. */
class Weights {
  constructor(weights) {
    const given = options('Weights', weights)
    for (const name of ['input', 'output', 'cached', 'cacheWrite']) {
      const value = given[name] ?? 1
      const accepted = 'a number from 0 to 100 with at most three decimals'
      if (typeof value !== 'number') throw new TypeError(`Weights: ${name} must be ${accepted}, got ${got(value)}`)
      const exact = Math.round(value * 1000)
      if (!(value >= 0 && value <= 100 && exact / 1000 === value)) {
        throw new RangeError(`Weights: ${name} must be ${accepted}, got ${shown(value)}`)
      }
      this[name] = value
    }
    if (this.input + this.output + this.cached + this.cacheWrite === 0) {
      throw new RangeError('Weights: input, output, cached and cacheWrite are all 0; one of them must be above')
    }
    Object.freeze(this)
  }
}

/** One rule. Made by the functions below; immutable. */
class Limit {
  #fields

  constructor(fields) {
    if (!(fields instanceof Fields)) throw new TypeError('a Limit is made by Limit.requests(500), Limit.tokens(...), Limit.inFlight(...) and so on')
    this.#fields = Object.freeze(fields)
    Object.freeze(this)
  }

  get kind() {
    return KINDS[this.#fields.kind]
  }

  static requests(amount, given) {
    return bucket('requests', 'requests', amount, given)
  }
  static tokens(amount, given) {
    return bucket('tokens', 'tokens', amount, given)
  }
  static inputTokens(amount, given) {
    return bucket('inputTokens', 'inputTokens', amount, given)
  }
  static outputTokens(amount, given) {
    return bucket('outputTokens', 'outputTokens', amount, given)
  }
  static tokenBucket(amount, given) {
    return bucket('tokenBucket', options('tokenBucket', given).meter ?? 'requests', amount, given)
  }
  static pacing(amount, given) {
    return make('pacing', options('pacing', given).meter ?? 'requests', amount, given)
  }
  static fixedWindow(amount, given) {
    const limit = make('fixedWindow', options('fixedWindow', given).meter ?? 'requests', amount, given, fields => {
      const { resetsIn } = options('fixedWindow', given)
      if (resetsIn !== undefined) fields.resetsIn = duration('fixedWindow: resetsIn', resetsIn, 1, fields.period / 1e6)
    })
    return limit
  }
  static slidingWindowCounter(amount, given) {
    return make('slidingWindowCounter', options('slidingWindowCounter', given).meter ?? 'requests', amount, given)
  }
  static slidingWindow(amount, given) {
    const { meter = 'requests', parts = 60 } = options('slidingWindow', given)
    return make('slidingWindow', meter, amount, given, fields => {
      fields.resolution = whole('slidingWindow: parts', parts, 1, 1000)
    })
  }
  static slidingWindowLog(amount, given) {
    const { meter = 'requests', stamps } = options('slidingWindowLog', given)
    return make('slidingWindowLog', meter, amount, given, fields => {
      if (stamps !== undefined) fields.resolution = whole('slidingWindowLog: stamps', stamps, 1, 65536)
    })
  }
  static inFlight(amount) {
    const fields = new Fields(KINDS.indexOf('inFlight'), 0, whole('inFlight: amount', amount, 1, MAX_IN_FLIGHT))
    fields.period = 0
    return new Limit(fields)
  }

  /** @internal llmrl_limit structs, one after the other. */
  static pack(what, limits, least = 1) {
    if (!Array.isArray(limits)) throw new TypeError(`${what}: limits must be an array of Limit, got ${got(limits)}`)
    if (limits.length < least || limits.length > 8) throw new RangeError(`${what}: limits must be ${least} to 8 of them, got ${limits.length}`)
    const bytes = new Uint8Array(SIZE * limits.length)
    limits.forEach((limit, at) => {
      if (!(limit instanceof Limit)) throw new TypeError(`${what}: limits[${at}] must be a Limit such as Limit.requests(500), got ${got(limit)}`)
      limit.#fields.write(new DataView(bytes.buffer, SIZE * at, SIZE))
    })
    return bytes
  }
}

class Fields {
  period = 60e9
  burst = 0
  flags = 0
  resolution = 0
  resetsIn = 0
  weights = undefined

  constructor(kind, meter, amount) {
    this.kind = kind
    this.meter = meter
    this.amount = amount
  }

  write(view) {
    const long = (at, value) => view.setBigUint64(at, BigInt(value), LITTLE)
    const word = (at, value) => view.setUint32(at, value, LITTLE)
    word(0, this.kind)
    word(4, this.meter)
    long(8, this.amount)
    long(16, this.period)
    long(24, this.burst)
    word(32, this.flags)
    word(36, this.resolution)
    long(40, this.resetsIn)
    const { input, output, cached, cacheWrite } = this.weights ?? { input: 0, output: 0, cached: 0, cacheWrite: 0 }
    ;[input, output, cached, cacheWrite].forEach((weight, at) => word(48 + 4 * at, Math.round(weight * 1000)))
  }
}

function meterOf(name, meter) {
  if (meter instanceof Weights) return WEIGHTED
  const at = typeof meter === 'string' ? METERS.indexOf(meter, 1) : -1
  if (at < 1 || at === WEIGHTED) {
    throw new TypeError(`${name}: meter must be 'requests', 'tokens', 'inputTokens', 'outputTokens' or a Weights, got ${got(meter)}`)
  }
  return at
}

function make(kind, meter, amount, given, more = () => {}, name = kind) {
  const { per = 60_000, oversize = 'reject', startEmpty = false } = options(name, given)
  const fields = new Fields(KINDS.indexOf(kind), meterOf(name, meter), whole(`${name}: amount`, amount, 1))
  fields.period = duration(`${name}: per`, per, 1, MAX_PERIOD)
  fields.flags = choice(`${name}: oversize`, oversize, ['reject', 'whenFull']) | (flag(`${name}: startEmpty`, startEmpty) ? 2 : 0)
  fields.weights = meter instanceof Weights ? meter : undefined
  more(fields)
  return new Limit(fields)
}

function bucket(name, meter, amount, given) {
  const { burst } = options(name, given)
  const more = fields => {
    fields.burst = whole(`${name}: burst`, burst ?? amount, 1)
  }
  return make('tokenBucket', meter, amount, given, more, name)
}

module.exports = { Limit, Weights, KINDS, METERS, MAX_IN_FLIGHT }
