'use strict'
// Arguments to the numbers that the C library takes. Every complaint names field, value and accepted range.
const { n, REQUESTS, TIMEOUT } = require('./native.js')

const MAX_COST = 2 ** 40 - 1
const MAX_CACHED = 2 ** 36 - 1
const MAX_TABLE = 2 ** 20
const MAX_PERIOD = 3660 * 86_400_000

function shown(value) {
  let text
  try {
    text = typeof value === 'string' ? JSON.stringify(value) : typeof value === 'bigint' ? `${value}n` : String(value)
  } catch {
    text = Object.prototype.toString.call(value)
  }
  return text.length <= 60 ? text : `${text.slice(0, 57)}...`
}

function got(value) {
  return value === null || value === undefined ? String(value) : `${typeof value} ${shown(value)}`
}

function whole(field, value, low = 0, high = MAX_COST) {
  if (typeof value !== 'number') throw new TypeError(`${field} must be a whole number from ${low} to ${high}, got ${got(value)}`)
  if (!Number.isInteger(value) || value < low || value > high) {
    throw new RangeError(`${field} must be a whole number from ${low} to ${high}, got ${shown(value)}`)
  }
  return value
}

/** `ms` in nanoseconds, from `lowNs` to `highMs`. */
function duration(field, ms, lowNs = 0, highMs = 9.2e12) {
  const accepted = `milliseconds from ${lowNs / 1e6} to ${highMs}`
  if (typeof ms !== 'number') throw new TypeError(`${field} must be ${accepted}, got ${got(ms)}`)
  // Whole milliseconds apart: their product is exact far beyond where that of a fraction would be.
  const floor = Math.floor(ms)
  const ns = floor * 1e6 + Math.round((ms - floor) * 1e6)
  if (!(ns >= lowNs && ms <= highMs)) throw new RangeError(`${field} must be ${accepted}, got ${shown(ms)}`)
  return ns
}

/** A timeout in nanoseconds; undefined, null and Infinity are without end. */
function timeout(field, ms) {
  if (ms === undefined || ms === null || ms === Infinity) return Infinity
  return duration(field, ms)
}

function slowCost(what, cost, least) {
  if (cost === null || typeof cost !== 'object') {
    throw new TypeError(`${what}: cost must be an object such as { input: 1200, output: 400 }, got ${got(cost)}`)
  }
  const { requests = 1, input = 0, output = 0, cached = 0, cacheWrite = 0 } = cost
  // First all checks: a getter may have called back into this library.
  const numbers = [
    whole('requests', requests, least),
    whole('input', input),
    whole('output', output),
    whole('cached', cached, 0, MAX_CACHED),
    whole('cacheWrite', cacheWrite, 0, MAX_CACHED),
  ]
  n.set(numbers, REQUESTS)
}

const small = value => typeof value === 'number' && value >>> 0 === value

/** Puts a cost where the addon looks for it. */
function putCost(what, cost, least = 1) {
  if (cost !== null && typeof cost === 'object') {
    const { requests = 1, input = 0, output = 0, cached = 0, cacheWrite = 0 } = cost
    if (small(requests) && requests >= least && small(input) && small(output) && small(cached) && small(cacheWrite)) {
      n[REQUESTS] = requests
      n[REQUESTS + 1] = input
      n[REQUESTS + 2] = output
      n[REQUESTS + 3] = cached
      n[REQUESTS + 4] = cacheWrite
      return
    }
  }
  slowCost(what, cost, least)
}

/** The same, and one request without tokens if nothing is said. */
function putAsk(what, cost) {
  if (cost !== undefined) {
    putCost(what, cost)
    return
  }
  n[REQUESTS] = 1
  n[REQUESTS + 1] = 0
  n[REQUESTS + 2] = 0
  n[REQUESTS + 3] = 0
  n[REQUESTS + 4] = 0
}

/** What to acquire, with its timeout. Returns its AbortSignal, which is not aborted; throws the reason of one that is. */
function putRequest(what, request) {
  if (request === undefined) {
    putAsk(what, request)
    n[TIMEOUT] = Infinity
    return undefined
  }
  const ms = request?.timeout
  const signal = request?.signal
  const ns = ms === undefined ? Infinity : timeout('timeout', ms)
  if (signal !== undefined && signal !== null) {
    if (typeof signal !== 'object' || typeof signal.addEventListener !== 'function') {
      throw new TypeError(`signal must be an AbortSignal, got ${got(signal)}`)
    }
    if (signal.aborted) throw signal.reason
  }
  putCost(what, request)
  n[TIMEOUT] = ns
  return signal ?? undefined
}

/** The key of a map, 1 to `most` bytes. What is text and no Unicode would be another key's. */
function key(value, most, field = 'key', least = 1) {
  const accepted = `a string or a Uint8Array, ${least} to ${most} bytes in UTF-8`
  if (typeof value === 'string') {
    if (/\p{Surrogate}/u.test(value)) throw new RangeError(`${field} must be ${accepted}, got half a character: ${shown(value)}`)
    // Three bytes for a unit of UTF-16 at most: short ones need no counting.
    if (value.length >= least && value.length * 3 <= most) return value
    const size = Buffer.byteLength(value)
    if (size < least || size > most) throw new RangeError(`${field} must be ${accepted}, got ${size}: ${shown(value)}`)
    return value
  }
  if (!(value instanceof Uint8Array)) throw new TypeError(`${field} must be ${accepted}, got ${got(value)}`)
  if (value.length < least || value.length > most) throw new RangeError(`${field} must be ${accepted}, got ${value.length}`)
  return value
}

function choice(field, value, names) {
  const at = names.indexOf(value)
  if (at < 0) throw new RangeError(`${field} must be ${names.map(name => `'${name}'`).join(' or ')}, got ${got(value)}`)
  return at
}

function options(what, value) {
  if (value === undefined) return {}
  if (value === null || typeof value !== 'object') throw new TypeError(`${what}: options must be an object, got ${got(value)}`)
  return value
}

function flag(field, value) {
  if (typeof value !== 'boolean') throw new TypeError(`${field} must be true or false, got ${got(value)}`)
  return value
}

module.exports = {
  MAX_COST, MAX_CACHED, MAX_TABLE, MAX_PERIOD,
  shown, got, whole, duration, timeout, putCost, putAsk, putRequest, key, choice, options, flag,
}
