/// <reference lib="esnext.disposable" />
// Times are milliseconds wherever nothing else is said; sizes are tokens, requests or slots, as the limit counts.

/** A number of whole requests or tokens, 0 to 2**40 - 1. */
export interface Cost {
  /** Usually 1, the default, and at least that. */
  requests?: number
  /** Tokens of the prompt. Default 0. */
  input?: number
  /** Tokens of the answer; beforehand, an estimate. With `input` at most 2**40 - 1. Default 0. */
  output?: number
  /** Input tokens that the provider takes from its cache, part of `input`; only weighted meters look at them. At most 2**36 - 1. */
  cached?: number
  /** Input tokens that the provider puts into its cache, part of `input`; only weighted meters look at them. At most 2**36 - 1. */
  cacheWrite?: number
}

export interface AcquireOptions extends Cost {
  /** How long to wait at most; what cannot be met is refused at once, with DeadlineExceeded. Default: without end. */
  timeout?: number | null
  /** Ends the wait, which rejects with the signal's reason, and gives everything back. */
  signal?: AbortSignal | null
}

export type Meter = 'requests' | 'tokens' | 'inputTokens' | 'outputTokens' | Weights
export type Kind =
  | 'tokenBucket' | 'inFlight' | 'pacing' | 'fixedWindow' | 'slidingWindowCounter' | 'slidingWindow' | 'slidingWindowLog'

export interface PeriodOptions {
  /** The period, up to 3660 days (316224000000). Default a minute, 60000. */
  per?: number
  /** What becomes of a request that is larger than the limit: refused with Never, or admitted when the limit is unused. Default 'reject'. */
  oversize?: 'reject' | 'whenFull'
  /** Whether everything is used up at first, for limits of which others may have used something. Default false. */
  startEmpty?: boolean
}
export interface BucketOptions extends PeriodOptions {
  /** What an idle bucket holds, 1 to 2**40 - 1. Default: the amount. */
  burst?: number
}
export interface MeterOptions {
  /** What is counted. Default 'requests'. */
  meter?: Meter
}

/** What a token of each class counts, 0 to 100 with at most three decimals, as the meter of a limit; a request's sum is rounded up. */
export class Weights {
  constructor(weights: { input?: number; output?: number; cached?: number; cacheWrite?: number })
  readonly input: number
  readonly output: number
  readonly cached: number
  readonly cacheWrite: number
}

/** One rule. Immutable, and good for any number of limiters. RangeError or TypeError for what is outside its range. */
export class Limit {
  private constructor()
  readonly kind: Kind
  /** A token bucket of requests: `amount` per period, produced evenly. */
  static requests(amount: number, options?: BucketOptions): Limit
  /** A token bucket of input and output tokens together. */
  static tokens(amount: number, options?: BucketOptions): Limit
  static inputTokens(amount: number, options?: BucketOptions): Limit
  static outputTokens(amount: number, options?: BucketOptions): Limit
  /** A token bucket of any meter. */
  static tokenBucket(amount: number, options?: BucketOptions & MeterOptions): Limit
  /** A leaky bucket: `amount` per period at even distances. */
  static pacing(amount: number, options?: Pick<PeriodOptions, 'per'> & MeterOptions): Limit
  /** `amount` in each period, all of which comes back at its end. `resetsIn`: the present one ends so long from now. */
  static fixedWindow(amount: number, options?: PeriodOptions & MeterOptions & { resetsIn?: number }): Limit
  /** `amount` in a period, estimated from two counters; nearly twice as much in the worst case. */
  static slidingWindowCounter(amount: number, options?: PeriodOptions & MeterOptions): Limit
  /** Never more than `amount` in any period, counted in `parts`, 1 to 1000. Default 60. */
  static slidingWindow(amount: number, options?: PeriodOptions & MeterOptions & { parts?: number }): Limit
  /** Never more than `amount` in any period, with a time stamp for each admission, `stamps` of them, 1 to 65536. Default: `amount`. */
  static slidingWindowLog(amount: number, options?: PeriodOptions & MeterOptions & { stamps?: number }): Limit
  /** So many requests at the same time, 1 to 524287. At most one in a limiter. */
  static inFlight(amount: number): Limit
}

/** A clock moved by hand, for tests: nothing happens by itself, and an hour passes in a microsecond. */
export class ManualClock {
  /** `start`: what it shows at first. */
  constructor(start?: number)
  /** Moves it, and admits all whose time has come; exact to the nanosecond for up to 104 days at once. */
  advance(ms: number): void
  readonly now: number
}

export interface Answer {
  /** 100 to 999. */
  status: number
  headers?: Headers | Iterable<readonly [string, string]> | Record<string, string | readonly string[] | undefined>
  /** Only that of an error is looked at, its first 64 KiB. */
  body?: string | Uint8Array
  /** Milliseconds since 1970. Default: now. */
  now?: number
}

export type AnswerClass = 'ok' | 'rate' | 'concurrency' | 'overload' | 'long' | 'billing' | 'oversize' | 'other'

export interface Advice {
  answerClass: AnswerClass
  /** Whether the same request may be admitted later. */
  retry: boolean
  /** How long to wait before asking the limiter again; 0 where the limiter itself holds requests back. */
  wait: number
}

/** A request that was admitted. It ends once: by settle, release or cancel; then all of them throw StalePermit. */
export class Permit {
  private constructor()
  /** Whether it has not ended yet. */
  readonly held: boolean
  /** Ends it: what was really used replaces the estimate. */
  settle(used: Cost): void
  /** Replaces the estimate, and it stays held: while an answer streams. */
  adjust(soFar: Cost): void
  /** Ends it: the estimate stands, as nobody knows what was used. */
  release(): void
  /** Ends it and gives everything back: nothing was sent. */
  cancel(): void
  /** The provider has answered: the limiter learns from it. Call it before the permit ends, for each answer. */
  feedback(answer: Answer): Advice
  /** `using permit = await limiter.acquire()`: releases it if it is still held. */
  [Symbol.dispose](): void
}

export interface LimitState {
  kind: Kind
  meter: 'requests' | 'tokens' | 'inputTokens' | 'outputTokens' | 'weightedTokens' | 'inFlight'
  amount: number
  per: number
  burst: number
  /** What could be admitted now; negative while in debt. */
  available: number
  /** For how long it still admits nothing. */
  paused: number
  /** What feedback has made of it. */
  mode: 'normal' | 'throttled' | 'recovering'
}

/** Counted since the limiter was made. */
export interface Stats {
  granted: number
  refused: number
  /** Who waits now. */
  waiting: number
  /** Permits held now, if there is an in-flight limit. */
  inFlight: number
  cancelled: number
  timedOut: number
  wakes: number
  waitTotal: number
  waitMax: number
}

export interface LimiterOptions {
  /** How many may wait at the same time, 1 to 1048576; some 80 bytes each. Default 65536. */
  maxWaiters?: number
  /** How many permits may be held, 1 to 1048576. Default 65536. */
  maxPermits?: number
  /** For tests. Default: the machine's. */
  clock?: ManualClock
  /** What save() has returned. */
  saved?: Uint8Array
  /** Whether feedback may raise limits, too; then half of each waits for the first answer. Default false. */
  raiseLimits?: boolean
}

/** What has permits to give: a Limiter, or a Chain of them. */
export interface Acquiring {
  acquire(request?: AcquireOptions): Promise<Permit>
}

/** Up to 8 limits that admit a request all together or not at all, and one queue: first in, first out. */
export class Limiter implements Acquiring {
  constructor(limits: readonly Limit[], options?: LimiterOptions)
  /** The limiter that share() has made the token of, in another thread of this process. RangeError if there is none. */
  static from(token: string): Limiter
  /** A token for workers: pass it as workerData or in a message. From then on the limiter lives until it is closed. */
  share(): string
  /** A permit, or null: not now. Never overtakes those who wait. Throws Never, QueueFull, Closed. */
  tryAcquire(cost?: Cost): Permit | null
  /** Waits for its turn. Rejects with Never, DeadlineExceeded, QueueFull, Closed, or the reason of the signal. */
  acquire(request?: AcquireOptions): Promise<Permit>
  /** How long a request would wait if it came now: 0 is not at all, Infinity that it takes somebody's release. */
  waitTime(cost?: Cost): number
  /** Counts use that went past the limiter. `requests` may be 0 here. */
  charge(cost: Cost): void
  /** Another amount, period and, of a token bucket, burst, for the limit of that index. */
  retune(index: number, amount: number, options?: { per?: number; burst?: number }): void
  /** Admits nothing that needs this limit for so long; 0 resumes. */
  pause(index: number, ms: number): void
  /** The fixed window of that index ends so long from now. */
  align(index: number, resetsIn: number): void
  /** Ends it for all threads: whoever waits is rejected with Closed. Permits that are held can still be settled. */
  close(): void
  stats(): Stats
  limits(): LimitState[]
  /** What has been used, to go on from there after a restart. */
  save(): Uint8Array
  /** `fetch` limited by this limiter, with the defaults of limitFetch: for `new OpenAI({ fetch: limiter.fetch })`. */
  readonly fetch: typeof globalThis.fetch
}

export type Key = string | Uint8Array

/** A limiter for each key, in bounded memory. */
export class LimiterMap {
  /** `capacity`: limiters that are kept, 1 to 16777216, default 10000. `shared`: how many more serve the keys for which there is no room, 0
   * to 65536, default 16. `maxWaiters` and `maxPermits`, of each Limiter that is given out: default 256. */
  constructor(
    limits: readonly Limit[],
    options?: { capacity?: number; shared?: number } & Pick<LimiterOptions, 'maxWaiters' | 'maxPermits' | 'clock' | 'raiseLimits'>,
  )
  /** That of a key of 1 to 1024 bytes. Keep it while the key is active. Throws MapFull, Closed. */
  limiter(key: Key): Limiter & { readonly isShared: boolean }
  /** Limits of its own for a key, of the same kinds and meters; without limits the map's again. */
  setLimits(key: Key, limits?: readonly Limit[]): void
  stats(): {
    keys: number; shared: number; created: number; evictions: number; full: number
    granted: number; refused: number; waiting: number; inFlight: number
  }
  /** The keys with most admissions, or of which most wait; their first 64 bytes. `count` at most 1000, default 10. */
  top(count?: number, by?: 'use' | 'waiting'): {
    key: Uint8Array; keySize: number; granted: number; refused: number; waiting: number; inFlight: number
  }[]
  close(): void
}

/** Limiters one above the other, the most private first: a request needs all of them, and gets all or none. Errors have a `level`. */
export class Chain implements Acquiring {
  /** 1 to 8 limiters. `maxPermits`: default 4096. */
  constructor(limiters: readonly Limiter[], options?: { maxPermits?: number })
  tryAcquire(cost?: Cost): Permit | null
  acquire(request?: AcquireOptions): Promise<Permit>
  waitTime(cost?: Cost): number
}

/** One limiter that many share: while keys wait, what they get in tokens is as their weights. */
export class FairQueue {
  /** `aging`: after so long a batch request counts as one of the others, default a minute; null: never. `passes`: so many small requests
   * may pass a large one, default 0. */
  constructor(limiter: Limiter, options?: { aging?: number | null; passes?: number; maxWaiters?: number; maxPermits?: number })
  readonly limiter: Limiter
  tryAcquire(cost?: Cost): Permit | null
  /** On the account of a key of 1 to 1024 bytes. `weight`: 1, the default, to 1000000. `batch`: after all others. */
  acquire(key: Key, request?: AcquireOptions & { weight?: number; batch?: boolean }): Promise<Permit>
  stats(): { waiting: number; batch: number; keys: number; aged: number; passed: number }
}

export interface Node {
  readonly name: Key
  readonly limiter: Limiter
}
export interface Routed {
  /** Where the request is to be sent. */
  node: Node
  permit: Permit
}

/** Limiters by name: which one a key belongs to, and which one admits a request soonest. */
export class Router {
  /** `replicas`, 1 to 10000: a ring of so many points for each unit of weight, instead of weighted rendezvous. */
  constructor(options?: { replicas?: number })
  /** `weight`: 0 to 1000000, default 1. */
  add(name: Key, limiter: Limiter, options?: { weight?: number }): void
  /** Throws NoNode. */
  remove(name: Key): void
  setWeight(name: Key, weight: number): void
  nodeFor(key: Key): Node
  tryAcquire(cost?: Cost & { key?: Key }): Routed | null
  acquire(request?: AcquireOptions & { key?: Key }): Promise<Routed>
}

/** A bare token bucket, without a queue. */
export class TokenBucket {
  constructor(amount: number, options?: BucketOptions & { clock?: ManualClock })
  /** Takes n, 1 by default, or nothing. Throws Never. */
  tryTake(n?: number): boolean
  waitTime(n?: number): number
  refund(n: number): void
  /** Takes n without asking; it may go below zero. */
  charge(n: number): void
  retune(amount: number, options?: { per?: number; burst?: number }): void
  pause(ms: number): void
  readonly available: number
}

/** A bare token bucket for each key of 1 to 65536 bytes, in memory that is taken at once: 32.25 bytes for each of `capacity`. */
export class BucketMap {
  /** `capacity`: 1 to 2**30, default 65536. `overflow`: without room a key shares a bucket, or is refused with MapFull. */
  constructor(
    amount: number,
    options?: Omit<BucketOptions, 'startEmpty'> & { clock?: ManualClock; capacity?: number; overflow?: 'share' | 'refuse' },
  )
  tryTake(key: Key, n?: number): boolean
  waitTime(key: Key, n?: number): number
  refund(key: Key, n: number): void
  charge(key: Key, n: number): void
  available(key: Key): number
  stats(): { keys: number; evictions: number; overflows: number }
}

/** What an answer says about one limit; what it did not say is undefined. */
export interface Quota {
  meter: 'requests' | 'tokens' | 'inputTokens' | 'outputTokens' | 'concurrency' | 'other'
  pool: 'standard' | 'project' | 'usageBased' | 'priority' | 'fast' | 'subscription' | 'overage' | 'uncached' | 'gateway' | 'other'
  limit: number | undefined
  remaining: number | undefined
  reset: number | undefined
  /** 1 is all. */
  utilization: number | undefined
  window: number | undefined
  period: number | undefined
  solved: [number, number] | undefined
  mislabelled: boolean
  exhausted: boolean
}

export interface Reading {
  answerClass: AnswerClass
  meter: Quota['meter'] | undefined
  wait: number | undefined
  requested: number | undefined
  /** Index of the quota that has refused. */
  tripped: number | undefined
  retryable: boolean
  shouldRetry: boolean | undefined
  warning: boolean
  quotas: Quota[]
}

/** What an answer of a provider or gateway says about limits. Nothing that it says throws. */
export function readAnswer(answer: Answer): Reading

export type Provider = 'openai' | 'azure' | 'anthropic' | 'anthropic-reserving' | 'gemini' | 'bedrock'
export interface Prompt {
  prompt: number
  maxTokens?: number
  expected?: number
  cached?: number
}

/** How a provider charges a request: what to acquire, and what to settle with. */
export class Charging {
  constructor(rule?: {
    joint?: boolean; output?: 'nothing' | 'expected' | 'allowed'; settlement?: 'estimate' | 'actual' | 'maximum'; cached?: boolean; burndown?: number
  })
  static of(provider: Provider): Charging
  readonly joint: boolean
  readonly output: 'nothing' | 'expected' | 'allowed'
  readonly settlement: 'estimate' | 'actual' | 'maximum'
  readonly cached: boolean
  readonly burndown: number
  reserve(request: Prompt): { input: number; output: number }
  settle(request: Prompt, used: { input: number; output?: number; cached?: number }): { input: number; output: number }
}

/** Output lengths that were seen, by key and model, in bounded memory: `names` pairs, 1 to 2**20, default 1000. */
export class Lengths {
  constructor(options?: { names?: number })
  record(key: Key, model: Key, outputTokens: number): void
  /** What `quantile`, 0.001 to 1, of the answers stayed under; maxTokens until there are 20. */
  estimate(key: Key, model: Key, quantile: number, maxTokens: number): number
  estimate(key: Key, model: Key, quantile: number, maxTokens?: number): number | undefined
}

/** What a request asks for, read from its URL and its body. */
export interface Ask {
  provider: Exclude<Provider, 'anthropic-reserving'> | ''
  model: string
  stream: boolean
  generates: boolean
  /** UTF-8 bytes of text. */
  size: number
  /** Tokens of everything else. */
  flat: number
  maxTokens: number | undefined
  choices: number
}

export interface FetchOptions {
  /** What sends. Default: the global fetch, as it is when a request is made. */
  fetch?: typeof globalThis.fetch
  /** How often a refusal is sent again, 0 to 100. Default 4. */
  retries?: number
  /** How long one request may wait and be tried again in all. Default: without end. */
  timeout?: number | null
  /** Default: what the address tells; else input and maxTokens, and what was used in the end. */
  charging?: Charging | Provider
  /** Whether failures that are not about limits are tried again, too. Default false: SDKs do. */
  retryErrors?: boolean
}

/** A fetch that limits every POST: waits for its turn, sends refusals again, settles with the usage that passes by in the answer. `limiter`
 * may be a function that chooses one; undefined lets the request pass. */
export function limitFetch(
  limiter: Acquiring | ((ask: Ask) => Acquiring | null | undefined),
  options?: FetchOptions,
): typeof globalThis.fetch

/** Base of every error that is about limits rather than about arguments. */
export class LimitError extends Error {
  readonly code: string
  /** Of which limiter of a Chain it tells, 0 is the first. */
  level: number | undefined
}
/** The cost is more than a limit can ever hold. */
export class Never extends LimitError {}
/** maxWaiters wait already, or maxPermits are held. */
export class QueueFull extends LimitError {}
/** A map has no room for another key. */
export class MapFull extends LimitError {}
/** The timeout has passed, or could not be met. */
export class DeadlineExceeded extends LimitError {}
/** The limiter was closed. */
export class Closed extends LimitError {}
/** The permit has ended before. */
export class StalePermit extends LimitError {}
/** The router has no node of that name, or none that a request could go to. */
export class NoNode extends LimitError {}

/** That of the C library inside. */
export const version: string
