'use strict'
// A `fetch` that is limited, for SDKs that take one: each POST waits for its turn, a refusal is waited for and sent again, and what
// was really used is settled when it passes by in the answer.
const { MAX_COST, flag, got, options, timeout: timeoutNs, whole } = require('./args.js')
const { readAsk } = require('./ask.js')
const { LimitError } = require('./errors.js')
const { Charging, Lengths } = require('./feedback.js')
const { UsageReader } = require('./usage.js')

const MAX_WAIT = 300_000 // who asks for more, as when a day's quota is gone, is not waited for; the limiter does so by itself
const MAX_ERROR = 64 * 1024 // bytes of an error's body that are worth reading
const BACKOFF_BASE = 500
const BACKOFF_CAP = 30_000
const LIMITS = ['rate', 'concurrency', 'overload']
const BYTES_PER_TOKEN = 4
const DEFAULT_OUTPUT = 1024

/** Milliseconds until a request queues again: none if the limiter holds it back, in order and without a herd. Otherwise full jitter on
 * top of what the server asked for. */
function backoff(wait, tries) {
  return wait === 0 ? 0 : (wait ?? 0) + Math.random() * Math.min(BACKOFF_CAP, BACKOFF_BASE * 2 ** tries)
}

function sleep(ms, signal) {
  if (ms === 0) return Promise.resolve()
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer)
      reject(signal.reason)
    }
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', stop)
      resolve()
    }, ms)
    if (signal?.aborted) stop()
    else signal?.addEventListener('abort', stop, { once: true })
  })
}

/** What one request is charged, by its provider's rule. */
class Price {
  #rule
  #request

  constructor(rule, ask, lengths) {
    this.#rule = rule
    const most = ask.maxTokens === undefined ? undefined : Math.min(MAX_COST, ask.maxTokens * ask.choices)
    const one = ask.generates ? (lengths.estimate('', ask.model, 0.9, most) ?? DEFAULT_OUTPUT) : 0
    this.#request = {
      prompt: Math.min(MAX_COST, Math.max(1, ask.flat + Math.ceil(ask.size / BYTES_PER_TOKEN))),
      maxTokens: ask.generates ? most : 0,
      expected: Math.min(MAX_COST, one * ask.choices),
    }
  }

  reserve() {
    return this.#rule.reserve(this.#request)
  }

  settle(usage) {
    const cost = this.#rule.settle(this.#request, usage)
    const split = this.#rule.cached && !this.#rule.joint && this.#rule.settlement === 'actual'
    return split ? { ...cost, cached: usage.cached, cacheWrite: usage.cacheWrite } : cost
  }
}

/** An admission, which has one outcome. The limiter may have been closed meanwhile: then there is nothing to end. */
class Admission {
  #permit

  constructor(permit) {
    this.#permit = permit
  }

  end(how) {
    const permit = this.#permit
    this.#permit = undefined
    if (permit === undefined) return
    try {
      how(permit)
    } catch (error) {
      if (!(error instanceof LimitError)) throw error
    }
  }

  release() {
    this.end(permit => permit.release())
  }

  feedback(response, body) {
    try {
      return this.#permit.feedback({ status: response.status, headers: response.headers, body })
    } catch {
      return undefined // closed meanwhile; or no status at all
    }
  }
}

/** Reads as much of a refusal as is worth it; the rest is let go. */
async function readError(response) {
  if (response.body === null) return new Uint8Array(0)
  const pieces = []
  let size = 0
  const reader = response.body.getReader()
  try {
    while (size < MAX_ERROR) {
      const { done, value } = await reader.read()
      if (done) break
      pieces.push(value)
      size += value.length
    }
  } catch {
    // What has come tells what it tells.
  }
  reader.cancel().catch(() => {})
  return Buffer.concat(pieces)
}

/** The same answer with another body. */
function withBody(response, body, headers = response.headers) {
  const { status, statusText, url, redirected, type } = response
  const copy = new Response(body, { status, statusText, headers })
  for (const [name, value] of Object.entries({ url, redirected, type })) Object.defineProperty(copy, name, { value })
  return copy
}

/** The body on its way to the caller; `passed` sees each piece, `ended` is called once, at its end or when the caller has enough. */
function watched(body, passed, ended) {
  const reader = body.getReader()
  return new ReadableStream(
    {
      type: 'bytes',
      async pull(controller) {
        let piece
        try {
          piece = await reader.read()
        } catch (error) {
          ended()
          throw error
        }
        if (piece.done) {
          ended()
          controller.close()
          controller.byobRequest?.respond(0)
          return
        }
        passed(piece.value)
        if (piece.value.length > 0) controller.enqueue(piece.value)
      },
      cancel(reason) {
        ended()
        return reader.cancel(reason)
      },
    },
    { highWaterMark: 0 },
  )
}

// Of an answer that nobody reads and nobody keeps.
const forgotten = new FinalizationRegistry(admission => admission.release())

/** The text of a request that can be read, and sent twice; undefined for streams and forms. */
function bodyOf(body) {
  if (body === undefined || body === null) return ''
  if (typeof body === 'string') return body
  if (body instanceof ArrayBuffer) return Buffer.from(body).toString()
  if (ArrayBuffer.isView(body)) return Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString()
  return undefined
}

function limitFetch(limiter, given) {
  const { fetch: inner, retries = 4, timeout, charging, retryErrors = false } = options('limitFetch', given)
  const choose = typeof limiter === 'function' ? limiter : () => limiter
  if (typeof limiter !== 'function' && typeof limiter?.acquire !== 'function') {
    throw new TypeError(`limiter must be a Limiter, a Chain, or a function that chooses one for a request, got ${got(limiter)}`)
  }
  if (inner !== undefined && typeof inner !== 'function') throw new TypeError(`fetch must be a function, got ${got(inner)}`)
  whole('retries', retries, 0, 100)
  timeoutNs('timeout', timeout)
  flag('retryErrors', retryErrors)
  const rule = typeof charging === 'string' ? Charging.of(charging) : charging
  if (rule !== undefined && !(rule instanceof Charging)) throw new TypeError(`charging must be a Charging or a provider's name, got ${got(charging)}`)
  const lengths = new Lengths()
  const rules = new Map([['', new Charging()]])

  function ruleOf(provider) {
    if (rule !== undefined) return rule
    if (!rules.has(provider)) rules.set(provider, Charging.of(provider))
    return rules.get(provider)
  }

  /** Hands an answer out whose usage is settled when it has passed by. */
  function settled(response, admission, ask, price) {
    const kind = (response.headers.get('content-type') ?? '').trim().toLowerCase()
    // Not what is spoken or drawn.
    if (response.body === null || (kind !== '' && !kind.includes('json') && !kind.includes('event-stream'))) {
      admission.release()
      return response
    }
    const reader = new UsageReader(kind)
    const ended = () => {
      const { usage, final } = reader
      if (usage === undefined || !final) return admission.release()
      if (ask.generates) lengths.record('', ask.model, Math.ceil(usage.output / ask.choices))
      admission.end(permit => permit.settle(price.settle(usage)))
    }
    const body = watched(response.body, data => reader.feed(data), ended)
    forgotten.register(body, admission)
    return withBody(response, body)
  }

  return async function fetch(input, init) {
    const send = inner ?? globalThis.fetch
    const request = input instanceof Request ? input : undefined
    const method = init?.method ?? request?.method ?? 'GET'
    if (method.toUpperCase() !== 'POST') return send(input, init)
    const signal = init?.signal ?? request?.signal ?? undefined
    const url = request?.url ?? String(input)
    const body = init?.body !== undefined || request === undefined ? bodyOf(init?.body) : await request.clone().text()
    const ask = readAsk(url, body ?? '')
    const chosen = choose(ask)
    if (chosen === undefined || chosen === null) return send(input, init)
    const price = ask.size || ask.flat || ask.generates ? new Price(ruleOf(ask.provider), ask, lengths) : undefined
    const end = timeout === undefined || timeout === null ? Infinity : performance.now() + timeout

    for (let tries = 1; ; tries++) {
      const left = end === Infinity ? undefined : Math.max(0, end - performance.now())
      const admission = new Admission(await chosen.acquire({ ...price?.reserve(), timeout: left, signal }))
      const wait = (advised, wanted) => {
        const ms = backoff(advised, tries)
        const late = performance.now() + ms >= end
        return !wanted || body === undefined || tries > retries || (advised ?? 0) > MAX_WAIT || late ? undefined : ms
      }
      let response
      try {
        // A request object can be sent once.
        response = await send(request === undefined ? input : request.clone(), init)
      } catch (error) {
        // Something was perhaps used, and nobody knows what.
        admission.release()
        const again = wait(undefined, retryErrors && !signal?.aborted)
        if (again === undefined) throw error
        await sleep(again, signal)
        continue
      }
      if (response.status < 400) {
        admission.feedback(response, '')
        return settled(response, admission, ask, price ?? new Price(ruleOf(ask.provider), ask, lengths))
      }
      const seen = await readError(response)
      const advice = admission.feedback(response, seen)
      const refused = advice !== undefined && advice.answerClass !== 'ok' && advice.answerClass !== 'other'
      // What never reached the model: one request was counted, no tokens.
      if (advice === undefined || refused || response.status >= 500) admission.release()
      else admission.end(permit => permit.settle({}))
      const wanted = LIMITS.includes(advice?.answerClass) || retryErrors
      const again = wait(advice?.wait, advice?.retry === true && wanted)
      if (again === undefined) {
        const headers = new Headers(response.headers)
        // The SDKs of OpenAI and Anthropic try again by themselves if this does not say no.
        if ((refused || wanted) && retries > 0) headers.set('x-should-retry', 'false')
        return withBody(response, seen, headers)
      }
      await sleep(again, signal)
    }
  }
}

module.exports = { limitFetch }
