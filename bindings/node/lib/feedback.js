'use strict'
// What providers say about their limits, what they charge, and how much they put out.
const { native, n, OBJECT, REQUESTS, TIMEOUT, STATUS, WAIT, COUNT, RESULT, OK } = require('./native.js')
const { MAX_CACHED, choice, flag, got, options, shown, whole } = require('./args.js')

const CLASSES = ['', 'ok', 'rate', 'concurrency', 'overload', 'long', 'billing', 'oversize', 'other']
const METERS = { 1: 'requests', 2: 'tokens', 3: 'inputTokens', 4: 'outputTokens', 100: 'concurrency', 101: 'other' }
const POOLS = ['', 'standard', 'project', 'usageBased', 'priority', 'fast', 'subscription', 'overage', 'uncached', 'gateway']
const QUOTA = 11 // numbers of one

function pairs(what, headers) {
  if (headers === undefined) return []
  if (headers === null || typeof headers !== 'object') {
    throw new TypeError(`${what}: headers must be Headers, an object, or pairs of name and value, got ${got(headers)}`)
  }
  const flat = []
  for (const pair of typeof headers[Symbol.iterator] === 'function' ? headers : Object.entries(headers)) {
    if (!Array.isArray(pair) || pair.length !== 2) throw new TypeError(`${what}: headers must be pairs of name and value, one is ${got(pair)}`)
    const [name, value] = pair
    if (value === undefined) continue
    // As in Node's own: several values of one name.
    for (const one of Array.isArray(value) ? value : [value]) {
      if (typeof name !== 'string' || typeof one !== 'string') throw new TypeError(`${what}: header ${shown(name)} must be a string, got ${got(one)}`)
      flat.push(name, one)
    }
  }
  return flat
}

/** Puts an answer where the addon looks for it, but for its headers and its body. */
function putAnswer(what, answer) {
  if (answer === null || typeof answer !== 'object') throw new TypeError(`${what}: answer must be { status, headers, body }, got ${got(answer)}`)
  const { status, body = '', now } = answer
  if (typeof body !== 'string' && !(body instanceof Uint8Array)) {
    throw new TypeError(`${what}: body must be a string or a Uint8Array, got ${got(body)}; of a Response: await response.text()`)
  }
  const headers = pairs(what, answer.headers)
  const code = whole('status', status, 100, 999)
  const ms = now === undefined ? 0 : whole('now', now, 1, 2 ** 43)
  n[RESULT] = code
  n[TIMEOUT] = ms
  return { headers, body }
}

function advice() {
  return { answerClass: CLASSES[n[RESULT]] ?? 'other', retry: (n[RESULT + 1] & 1) !== 0, wait: n[WAIT] / 1e6 }
}

const known = number => (number < 0 ? undefined : number)
const ms = ns => (ns < 0 ? undefined : ns / 1e6)

function readAnswer(answer) {
  const { headers, body } = putAnswer('readAnswer', answer)
  native.readAnswer(headers, body)
  if (n[STATUS] !== OK) throw new Error(`readAnswer: unexpected status ${n[STATUS]} from the C library; this is a bug in llmrl`)
  const [answerClass, meter, flags, tripped, wait, requested] = n.subarray(RESULT)
  const quotas = []
  for (let i = 0; i < n[COUNT]; i++) quotas.push(quota(n.subarray(RESULT + 6 + QUOTA * i)))
  return {
    answerClass: CLASSES[answerClass] ?? 'other',
    meter: meter === 0 ? undefined : (METERS[meter] ?? 'other'),
    wait: ms(wait),
    requested: known(requested),
    tripped: known(tripped),
    retryable: (flags & 1) !== 0,
    shouldRetry: flags & 2 ? true : flags & 4 ? false : undefined,
    warning: (flags & 8) !== 0,
    quotas,
  }
}

function quota([meter, pool, flags, limit, remaining, reset, utilization, window, period, low, high]) {
  return {
    meter: METERS[meter] ?? 'other',
    pool: POOLS[pool] ?? 'other',
    limit: known(limit),
    remaining: known(remaining),
    reset: ms(reset),
    utilization: utilization < 0 ? undefined : utilization / 1e6,
    window: ms(window),
    period: ms(period),
    solved: low < 0 ? undefined : [low / 1e6, high < 0 ? Infinity : high / 1e6],
    mislabelled: (flags & 1) !== 0,
    exhausted: remaining === 0 || utilization >= 1e6,
  }
}

const OUTPUTS = ['nothing', 'expected', 'allowed']
const SETTLEMENTS = ['estimate', 'actual', 'maximum']
const PROVIDERS = ['openai', 'azure', 'anthropic', 'anthropic-reserving', 'gemini', 'bedrock']

/** How a provider charges a request. */
class Charging {
  constructor(rule) {
    const { joint = false, output = 'allowed', settlement = 'actual', cached = true, burndown = 1 } = options('Charging', rule)
    this.joint = flag('Charging: joint', joint)
    this.output = OUTPUTS[choice('Charging: output', output, OUTPUTS)]
    this.settlement = SETTLEMENTS[choice('Charging: settlement', settlement, SETTLEMENTS)]
    this.cached = flag('Charging: cached', cached)
    this.burndown = whole('Charging: burndown', burndown, 1, 1000)
    Object.freeze(this)
  }

  static of(provider) {
    choice('provider', provider, PROVIDERS)
    native.chargingOf(provider)
    const [flags, output, settlement, burndown] = n.subarray(RESULT)
    return new Charging({
      joint: (flags & 1) !== 0, cached: (flags & 2) !== 0, output: OUTPUTS[output], settlement: SETTLEMENTS[settlement], burndown,
    })
  }

  reserve(request) {
    this.#put('reserve', request)
    native.chargingReserve()
    return { input: n[REQUESTS + 1], output: n[REQUESTS + 2] }
  }

  settle(request, used) {
    const { input, output = 0, cached = 0 } = options('settle', used)
    const numbers = [1, whole('used.input', input), whole('used.output', output), whole('used.cached', cached, 0, MAX_CACHED), 0]
    this.#put('settle', request)
    n.set(numbers, REQUESTS)
    native.chargingSettle()
    return { input: n[REQUESTS + 1], output: n[REQUESTS + 2] }
  }

  #put(what, request) {
    const { prompt, maxTokens, expected = 0, cached = 0 } = options(what, request)
    const numbers = [
      (this.joint ? 1 : 0) | (this.cached ? 2 : 0), OUTPUTS.indexOf(this.output), SETTLEMENTS.indexOf(this.settlement), this.burndown,
      whole('prompt', prompt), whole('cached', cached), maxTokens === undefined ? -1 : whole('maxTokens', maxTokens), whole('expected', expected),
    ]
    n.set(numbers, RESULT)
  }
}

/** Output lengths that were seen, for estimates. */
class Lengths {
  #external
  #at

  constructor(given) {
    const { names = 1000 } = options('Lengths', given)
    n[RESULT] = whole('Lengths: names', names, 1, 2 ** 20)
    this.#external = native.newLengths()
    this.#at = n[OBJECT]
  }

  record(key, model, outputTokens) {
    const [a, b] = [text('key', key), text('model', model)]
    n[RESULT] = whole('outputTokens', outputTokens, 0, Number.MAX_SAFE_INTEGER)
    n[OBJECT] = this.#at
    native.lengthsRecord(a, b)
  }

  estimate(key, model, quantile, maxTokens) {
    const [a, b] = [text('key', key), text('model', model)]
    if (typeof quantile !== 'number' || !(quantile >= 0.001 && quantile <= 1)) {
      throw new RangeError(`quantile must be a number from 0.001 to 1, got ${got(quantile)}`)
    }
    n[RESULT] = maxTokens === undefined ? -1 : whole('maxTokens', maxTokens)
    n[RESULT + 1] = Math.round(quantile * 1000)
    n[OBJECT] = this.#at
    native.lengthsEstimate(a, b)
    return known(n[RESULT])
  }
}

function text(field, value) {
  if (typeof value !== 'string' && !(value instanceof Uint8Array)) throw new TypeError(`${field} must be a string or a Uint8Array, got ${got(value)}`)
  return value
}

module.exports = { Charging, Lengths, advice, putAnswer, readAnswer }
