// The package beside its peers: nanoseconds for one operation that is admitted at once.
//
//   npm install --prefix bench && node bench/bench.mjs [rounds] [milliseconds]
//
// Cases take turns, round by round, in one process; the table has the median and the least of the rounds, less those of an empty loop.
import os from 'node:os'
import { Limit, Limiter, TokenBucket } from '../index.mjs'

const [rounds = 11, milliseconds = 15] = process.argv.slice(2).map(Number)
const MANY = 2 ** 40 - 1
const FAST = { per: 3_600_000 }

const limiter = new Limiter([Limit.requests(MANY, FAST)])
const three = new Limiter([Limit.requests(MANY, FAST), Limit.tokens(MANY, FAST), Limit.inFlight(100_000)])
const bucket = new TokenBucket(MANY, FAST)
const cost = { input: 1200, output: 400 }

const cases = [
  ['sync', 'empty loop', count => { for (let i = 0; i < count; i++); }],
  ['sync', 'llmrl TokenBucket.tryTake()', count => { for (let i = 0; i < count; i++) bucket.tryTake() }],
  ['sync', 'llmrl tryAcquire() and release(), 1 limit', count => { for (let i = 0; i < count; i++) limiter.tryAcquire().release() }],
  ['sync', 'llmrl tryAcquire(cost) and settle(cost), 3 limits', count => { for (let i = 0; i < count; i++) three.tryAcquire(cost).settle(cost) }],
  ['async', 'empty loop', async count => { for (let i = 0; i < count; i++); }],
  ['async', 'await undefined', async count => { for (let i = 0; i < count; i++) await undefined }],
  ['async', 'llmrl await acquire() and release(), 1 limit', async count => { for (let i = 0; i < count; i++) (await limiter.acquire()).release() }],
  ['async', 'llmrl await acquire(cost) and settle(cost), 3 limits', async count => { for (let i = 0; i < count; i++) (await three.acquire(cost)).settle(cost) }],
]

async function peer(name, add) {
  try {
    add(await import(name))
  } catch (error) {
    if (error.code !== 'ERR_MODULE_NOT_FOUND') throw error
    console.error(`${name} is not installed: npm install --prefix bench`)
  }
}

await peer('limiter', ({ TokenBucket }) => {
  const peer = new TokenBucket({ bucketSize: MANY, tokensPerInterval: MANY, interval: 'hour' })
  peer.content = MANY
  cases.push(['sync', 'limiter TokenBucket.tryRemoveTokens(1)', count => { for (let i = 0; i < count; i++) peer.tryRemoveTokens(1) }])
  cases.push(['async', 'limiter TokenBucket.removeTokens(1)', async count => { for (let i = 0; i < count; i++) await peer.removeTokens(1) }])
})
await peer('rate-limiter-flexible', ({ default: { RateLimiterMemory } }) => {
  const peer = new RateLimiterMemory({ points: MANY, duration: 3600 })
  cases.push(['async', 'rate-limiter-flexible memory consume(key)', async count => { for (let i = 0; i < count; i++) await peer.consume('k') }])
})
await peer('p-limit', ({ default: pLimit }) => {
  const peer = pLimit(1000)
  const nothing = async () => {}
  cases.push(['async', 'p-limit limit(nothing)', async count => { for (let i = 0; i < count; i++) await peer(nothing) }])
})
await peer('bottleneck', ({ default: Bottleneck }) => {
  const peer = new Bottleneck({ reservoir: 1e9, maxConcurrent: 1000 })
  const nothing = async () => {}
  cases.push(['async', 'bottleneck schedule(nothing)', async count => { for (let i = 0; i < count; i++) await peer.schedule(nothing) }])
})

async function time(call, count) {
  const began = process.hrtime.bigint()
  await call(count)
  return Number(process.hrtime.bigint() - began)
}

const runs = []
for (const [group, name, call] of cases) {
  let count = 16
  let ns = 0
  // Until it is compiled, and long enough.
  while ((ns = await time(call, count)) < milliseconds * 1e6 && count < 1e8) count *= 2
  runs.push({ group, name, call, count: Math.max(1, Math.round((count * milliseconds * 1e6) / ns)), times: [] })
}
for (let round = 0; round < rounds; round++) {
  for (const run of runs) run.times.push((await time(run.call, run.count)) / run.count)
}

console.log(`node ${process.version}, ${os.cpus()[0].model}, ${os.cpus().length} CPUs, load ${os.loadavg()[0].toFixed(1)}`)
console.log(`${rounds} rounds of ${milliseconds} ms in turns; ns per operation, less the empty loop`)
const median = times => times.toSorted?.((a, b) => a - b)[times.length >> 1] ?? [...times].sort((a, b) => a - b)[times.length >> 1]
for (const group of ['sync', 'async']) {
  const [empty, ...others] = runs.filter(run => run.group === group)
  console.log(`\n${group.padEnd(55)} ${'median'.padStart(12)} ${'least'.padStart(12)}`)
  for (const { name, times } of others) {
    const shown = [median(times) - median(empty.times), Math.min(...times) - Math.min(...empty.times)]
    console.log(`${name.padEnd(55)} ${shown.map(ns => ns.toFixed(1).padStart(12)).join(' ')}`)
  }
}
process.exit(0) // bottleneck keeps a timer
