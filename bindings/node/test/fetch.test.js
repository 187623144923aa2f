'use strict'
// The limited fetch, by itself and under the SDKs, against a server of this test.
const assert = require('node:assert/strict')
const { createServer } = require('node:http')
const { after, before, test } = require('node:test')
const { gzipSync } = require('node:zlib')
const { Chain, Closed, DeadlineExceeded, Limit, Limiter, limitFetch } = require('..')
const { UsageReader } = require('../lib/usage.js')
const { readAsk } = require('../lib/ask.js')
const { settled } = require('./helpers.js')

let server
let base
let answers = [] // what is answered next; then `otherwise`
let otherwise
let requests = []

before(async () => {
  server = createServer(async (request, response) => {
    const pieces = []
    for await (const piece of request) pieces.push(piece)
    const body = Buffer.concat(pieces).toString()
    requests.push({ method: request.method, url: request.url, body: body && JSON.parse(body) })
    await (answers.shift() ?? otherwise)(response, request)
  })
  await new Promise(resolve => server.listen(0, '127.0.0.1', resolve))
  base = `http://127.0.0.1:${server.address().port}`
})
after(() => {
  server.closeAllConnections()
  server.close()
})

const json = (status, value, headers = {}) => response => {
  response.writeHead(status, { 'content-type': 'application/json', ...headers })
  response.end(JSON.stringify(value))
}
const events = pieces => async response => {
  response.writeHead(200, { 'content-type': 'text/event-stream' })
  for (const piece of pieces) {
    response.write(piece)
    await settled()
  }
  response.end()
}
const chat = (input, output) => ({
  id: 'c', object: 'chat.completion', created: 1, model: 'm',
  choices: [{ index: 0, finish_reason: 'stop', message: { role: 'assistant', content: 'hello' } }],
  usage: { prompt_tokens: input, completion_tokens: output, total_tokens: input + output },
})

/** So slow that nothing comes back while a test runs, and every token can be counted. */
const slow = Limit.tokens(100_000, { per: 3660 * 86_400_000 })
/** So fast that a limiter which has been refused, and goes slower, is still fast. */
const fast = Limit.tokens(2 ** 30, { per: 10_000 })

function limits(tokens = slow) {
  requests = []
  answers = []
  otherwise = json(200, chat(30, 20))
  return new Limiter([tokens, Limit.inFlight(2)])
}
const left = limiter => limiter.limits().map(state => state.available)
const post = (fetch, body, init) => fetch(`${base}/v1/chat/completions`, { method: 'POST', body: JSON.stringify(body), ...init })
const ASK = { model: 'm', messages: [{ role: 'user', content: 'x'.repeat(400) }], max_tokens: 300 }

test('a request is admitted by its estimate and settled by its answer', async () => {
  const limiter = limits()
  answers = [async response => {
    assert.deepEqual(left(limiter), [100_000 - 400, 1])
    json(200, chat(30, 20))(response)
  }]
  const response = await post(limiter.fetch, ASK)
  assert.equal(response.url, `${base}/v1/chat/completions`)
  assert.equal((await response.json()).usage.prompt_tokens, 30)
  assert.deepEqual(left(limiter), [100_000 - 50, 2])
  assert.equal(limiter.fetch, limiter.fetch)
})

test('what is no POST passes', async () => {
  const limiter = limits()
  limiter.close()
  assert.equal((await limiter.fetch(`${base}/v1/models`)).status, 200)
  await assert.rejects(post(limiter.fetch, ASK), Closed)
  assert.equal(requests.length, 1)
})

test('a refusal is waited for and sent again', async () => {
  const limiter = limits(fast)
  answers = [json(429, { error: { message: 'slow down' } }, { 'retry-after-ms': '30' }), json(503, {}, { 'retry-after-ms': '1' })]
  const began = performance.now()
  const response = await post(limiter.fetch, ASK)
  assert.equal(response.status, 200)
  await response.text()
  assert.ok(performance.now() - began >= 30)
  assert.equal(requests.length, 3)
  assert.equal(left(limiter)[1], 2)
})

test('a refusal that waiting does not help is handed out, and nobody tries again', async () => {
  const limiter = limits()
  otherwise = json(429, { error: { code: 'insufficient_quota', message: 'You exceeded your current quota' } })
  const response = await post(limiter.fetch, ASK)
  assert.equal(response.status, 429)
  assert.equal(response.headers.get('x-should-retry'), 'false')
  assert.equal((await response.json()).error.code, 'insufficient_quota')
  assert.equal(requests.length, 1)
  assert.equal(left(limiter)[1], 2)
})

test('an error of the request costs no tokens', async () => {
  const limiter = limits()
  otherwise = json(400, { error: { message: 'bad' } })
  const response = await post(limiter.fetch, ASK)
  assert.equal(response.status, 400)
  assert.equal(response.headers.get('x-should-retry'), null)
  assert.deepEqual(left(limiter), [100_000, 2])
})

test('a stream is settled by what passes by, at its end or where its reader stops', async () => {
  const limiter = limits()
  const usage = 'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":3}}\n\n'
  otherwise = events(['data: {"choices":[{"delta":{"content":"a"}}]}\n', '\n', usage.slice(0, 40), usage.slice(40), 'data: [DONE]\n\n'])
  await (await post(limiter.fetch, { ...ASK, stream: true })).text()
  assert.deepEqual(left(limiter), [100_000 - 12, 2])
  const response = await post(limiter.fetch, { ...ASK, stream: true })
  for await (const piece of response.body) if (Buffer.from(piece).includes('DONE')) break
  assert.deepEqual(left(limiter), [100_000 - 24, 2])
  const cut = await post(limiter.fetch, { ...ASK, stream: true })
  await cut.body.cancel()
  // Nothing was told: the estimate stands.
  assert.equal(left(limiter)[1], 2)
  assert.ok(left(limiter)[0] <= 100_000 - 24 - 100)
})

test('an answer passes as it comes, and one that breaks is ended', async () => {
  const limiter = limits()
  let go
  answers = [async response => {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.write('data: {}\n\n')
    await new Promise(resolve => (go = resolve))
    response.destroy()
  }]
  const reader = (await post(limiter.fetch, { ...ASK, stream: true })).body.getReader()
  assert.equal(Buffer.from((await reader.read()).value).toString(), 'data: {}\n\n')
  go()
  await assert.rejects(reader.read())
  assert.equal(left(limiter)[1], 2)
})

test('compressed answers, empty ones, and ones that are no JSON', async () => {
  const limiter = limits()
  answers = [
    response => {
      response.writeHead(200, { 'content-type': 'application/json', 'content-encoding': 'gzip' })
      response.end(gzipSync(JSON.stringify(chat(30, 20))))
    },
    response => response.writeHead(204).end(),
    response => response.writeHead(200, { 'content-type': 'audio/mpeg' }).end('{"usage":{"prompt_tokens":1}}'),
  ]
  await (await post(limiter.fetch, ASK)).json()
  assert.equal(left(limiter)[0], 100_000 - 50)
  assert.equal((await post(limiter.fetch, ASK)).status, 204)
  await (await post(limiter.fetch, ASK)).text()
  assert.equal(left(limiter)[1], 2)
  assert.ok(left(limiter)[0] < 100_000 - 250)
})

test('an answer that nobody reads is given up with it', async () => {
  const limiter = limits()
  await (async () => { await post(limiter.fetch, ASK) })()
  for (let i = 0; i < 100 && left(limiter)[1] < 2; i++) {
    await settled()
    global.gc()
  }
  assert.equal(left(limiter)[1], 2)
})

test('waiting ends by a signal and by a timeout; what could not be sent is released', async () => {
  const limiter = limits()
  const held = [limiter.tryAcquire(), limiter.tryAcquire()]
  const abort = new AbortController()
  const waiting = post(limiter.fetch, ASK, { signal: abort.signal })
  setImmediate(() => abort.abort())
  await assert.rejects(waiting, { name: 'AbortError' })
  await assert.rejects(post(limitFetch(limiter, { timeout: 5 }), ASK), DeadlineExceeded)
  assert.equal(requests.length, 0)
  held[0].cancel()
  await assert.rejects(post(limitFetch(limiter, { fetch: () => Promise.reject(new TypeError('no network')) }), ASK), /no network/)
  held[1].cancel()
  assert.equal(left(limiter)[1], 2)
})

test('a Request, bytes, and a body that can be sent once', async () => {
  const limiter = limits(fast)
  const url = `${base}/v1/chat/completions`
  answers = [json(429, {}, { 'retry-after-ms': '1' })]
  await (await limiter.fetch(new Request(url, { method: 'POST', body: JSON.stringify(ASK) }))).json()
  await (await limiter.fetch(new URL(url), { method: 'POST', body: Buffer.from(JSON.stringify(ASK)) })).json()
  assert.equal(requests.length, 3)
  assert.ok(requests.every(({ body }) => body.max_tokens === 300))
  answers = [json(429, {}, { 'retry-after-ms': '1' })]
  const once = await limiter.fetch(url, { method: 'POST', body: new Blob([JSON.stringify(ASK)]).stream(), duplex: 'half' })
  assert.equal(once.status, 429)
})

test('a limiter for each model, and one above all', async () => {
  const limiter = limits()
  const user = new Limiter([Limit.requests(10)])
  const asked = []
  const fetch = limitFetch(ask => {
    asked.push(ask.model)
    return ask.model === 'free' ? undefined : new Chain([user, limiter])
  })
  await (await post(fetch, ASK)).json()
  await (await post(fetch, { ...ASK, model: 'free' })).json()
  assert.deepEqual(asked, ['m', 'free'])
  assert.equal(user.stats().granted, 1)
  assert.equal(left(limiter)[0], 100_000 - 50)
})

test('requests are read', () => {
  const ask = readAsk('https://api.anthropic.com/v1/messages', JSON.stringify({
    model: 'claude', max_tokens: 10, system: 'ab', messages: [{ role: 'user', content: [{ type: 'text', text: 'é' }, { type: 'image', source: {} }] }],
  }))
  assert.deepEqual(ask, { provider: 'anthropic', model: 'claude', stream: false, generates: true, size: 4, flat: 1000, maxTokens: 10, choices: 1 })
  const gemini = readAsk('https://generativelanguage.googleapis.com/v1beta/models/gemini-x:streamGenerateContent?alt=sse',
    JSON.stringify({ contents: [{ parts: [{ text: 'abcd' }] }], generationConfig: { maxOutputTokens: 7, candidateCount: 2 } }))
  assert.deepEqual([gemini.provider, gemini.model, gemini.stream, gemini.maxTokens, gemini.choices], ['gemini', 'gemini-x', true, 7, 2])
  assert.equal(readAsk('http://x/v1/embeddings', '{"input":[[1,2,3],[4]]}').flat, 4)
  assert.equal(readAsk('http://x/v1/embeddings', '{"input":"a"}').generates, false)
  for (const rubbish of ['', '[', 'null', '[1]', '"x"', '{"messages":{"a":'.repeat(9), `{"prompt":${'['.repeat(5000)}${']'.repeat(5000)}}`]) {
    assert.equal(readAsk('::', rubbish).maxTokens, undefined)
  }
})

test('usage is read, however it is cut', () => {
  const cases = [
    ['application/json', JSON.stringify({ choices: [{ message: { content: '"usage":{"prompt_tokens":99}' } }], usage: { prompt_tokens: 5, completion_tokens: 7, prompt_tokens_details: { cached_tokens: 2 } } }), { input: 5, output: 7, cached: 2, cacheWrite: 0 }],
    ['text/event-stream', 'event: message_start\r\ndata: {"message":{"usage":{"input_tokens":5,"cache_read_input_tokens":10,"output_tokens":1}}}\r\n\r\ndata: {"usage":{"output_tokens":7}}\r\n\r\n', { input: 15, output: 7, cached: 10, cacheWrite: 0 }],
    ['application/json', '[{"usageMetadata":{"promptTokenCount":4}},{"usageMetadata":{"promptTokenCount":4,"candidatesTokenCount":6,"thoughtsTokenCount":1}}]', { input: 4, output: 7, cached: 0, cacheWrite: 0 }],
    ['application/json', '{"a":{"usage":{"prompt_tokens":1}}}', undefined],
    ['application/json', `{"usage":{"prompt_tokens":1,"x":"${'y'.repeat(20_000)}"}}`, undefined],
    ['application/json', '{"usage":{"prompt_tokens":-1}}', undefined],
    ['application/json', '}]}{"usage', undefined],
  ]
  for (const [kind, text, want] of cases) {
    for (const size of [1, 2, 3, 7, 1000, 1e6]) {
      const reader = new UsageReader(kind)
      const bytes = Buffer.from(text)
      for (let at = 0; at < bytes.length; at += size) reader.feed(bytes.subarray(at, at + size))
      assert.deepEqual(reader.usage, want, `${size}: ${text.slice(0, 60)}`)
    }
  }
  const started = new UsageReader('text/event-stream')
  started.feed(Buffer.from('data: {"message":{"usage":{"input_tokens":5}}}\n\n'))
  assert.equal(started.final, false)
})

test('the SDK of OpenAI', async () => {
  const OpenAI = require('openai').default ?? require('openai')
  const limiter = limits()
  const client = new OpenAI({ apiKey: 'k', baseURL: `${base}/v1`, fetch: limiter.fetch })
  const body = { model: 'm', messages: [{ role: 'user', content: 'hi' }], max_tokens: 50 }
  const answer = await client.chat.completions.create(body)
  assert.equal(answer.usage.prompt_tokens, 30)
  assert.equal(left(limiter)[0], 100_000 - 50)
  const chunk = fields => `data: ${JSON.stringify({ id: 'c', object: 'chat.completion.chunk', created: 1, model: 'm', choices: [], ...fields })}\n\n`
  otherwise = events([
    chunk({ choices: [{ index: 0, delta: { content: 'he' } }] }), chunk({ choices: [{ index: 0, delta: { content: 'llo' }, finish_reason: 'stop' }] }),
    chunk({ usage: { prompt_tokens: 9, completion_tokens: 2, total_tokens: 11 } }), 'data: [DONE]\n\n',
  ])
  let text = ''
  for await (const part of await client.chat.completions.create({ ...body, stream: true, stream_options: { include_usage: true } })) {
    text += part.choices[0]?.delta.content ?? ''
  }
  assert.equal(text, 'hello')
  assert.deepEqual(left(limiter), [100_000 - 61, 2])
  // All tries are made here, none by the SDK.
  otherwise = json(429, { error: { message: 'Rate limit reached' } }, { 'retry-after-ms': '1' })
  requests = []
  const twice = new OpenAI({ apiKey: 'k', baseURL: `${base}/v1`, fetch: limitFetch(new Limiter([fast]), { retries: 1 }) })
  await assert.rejects(twice.chat.completions.create(body), error => error.status === 429)
  assert.equal(requests.length, 2)
})

test('the SDK of Anthropic', async () => {
  const Anthropic = require('@anthropic-ai/sdk').default ?? require('@anthropic-ai/sdk')
  const limiter = limits()
  const client = new Anthropic({ apiKey: 'k', baseURL: base, fetch: limiter.fetch })
  const body = { model: 'claude', messages: [{ role: 'user', content: 'hi' }], max_tokens: 50 }
  const message = usage => ({ id: 'm', type: 'message', role: 'assistant', model: 'claude', content: [], stop_reason: null, stop_sequence: null, usage })
  const good = json(200, { ...message({ input_tokens: 10, output_tokens: 5 }), content: [{ type: 'text', text: 'hello' }] })
  answers = [json(529, { type: 'error', error: { type: 'overloaded_error', message: 'Overloaded' } }, { 'retry-after': '0' }), good]
  const refused = new Anthropic({ apiKey: 'k', baseURL: base, fetch: new Limiter([fast]).fetch })
  assert.equal((await refused.messages.create(body)).content[0].text, 'hello')
  assert.equal(requests.length, 2)
  answers = [good]
  assert.equal((await client.messages.create(body)).content[0].text, 'hello')
  assert.deepEqual(left(limiter), [100_000 - 15, 2])
  const had = left(limiter)[0]
  const event = value => `event: ${value.type}\ndata: ${JSON.stringify(value)}\n\n`
  otherwise = events([
    event({ type: 'message_start', message: message({ input_tokens: 10, output_tokens: 1 }) }),
    event({ type: 'content_block_start', index: 0, content_block: { type: 'text', text: '' } }),
    event({ type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text: 'hello' } }),
    event({ type: 'content_block_stop', index: 0 }),
    event({ type: 'message_delta', delta: { stop_reason: 'end_turn', stop_sequence: null }, usage: { output_tokens: 6 } }),
    event({ type: 'message_stop' }),
  ])
  const final = await client.messages.stream(body).finalMessage()
  assert.equal(final.content[0].text, 'hello')
  assert.deepEqual(left(limiter), [had - 16, 2])
})
