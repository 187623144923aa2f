// Compiled by `npm run types`, not run.
import Anthropic from '@anthropic-ai/sdk'
import OpenAI from 'openai'
import { Chain, DeadlineExceeded, FairQueue, Limit, Limiter, LimiterMap, limitFetch, ManualClock, Router, Weights, readAnswer } from 'llmrl'
import type { Permit, Routed } from 'llmrl'

const limiter = new Limiter([Limit.requests(500), Limit.tokens(200_000, { burst: 5 }), Limit.inFlight(50)], { clock: new ManualClock() })

export async function use(signal: AbortSignal): Promise<void> {
  using permit = await limiter.acquire({ input: 1200, output: 400, timeout: 30_000, signal })
  permit.settle({ input: 1, output: 2 })
  const maybe: Permit | null = limiter.tryAcquire()
  maybe?.release()
  const advice: { wait: number } = permit.feedback({ status: 200, headers: new Headers() })
  void advice
  const routed: Routed = await new Router().acquire({ key: 'a' })
  routed.permit.release()
  await new FairQueue(limiter).acquire('alice', { weight: 3, batch: true })
  try {
    await new Chain([limiter]).acquire()
  } catch (error) {
    if (error instanceof DeadlineExceeded) console.log(error.code, error.level)
  }
}

export const openai = new OpenAI({ apiKey: '', fetch: limiter.fetch })
export const anthropic = new Anthropic({ apiKey: '', fetch: limitFetch(limiter, { retries: 2, charging: 'anthropic' }) })
export const byModel = limitFetch(ask => (ask.model === 'free' ? undefined : limiter))
export const shared: boolean = new LimiterMap([Limit.tokenBucket(1, { meter: new Weights({ output: 5 }) })]).limiter('a').isShared
export const remaining: number | undefined = readAnswer({ status: 200, headers: { a: 'b' } }).quotas[0]?.remaining

// @ts-expect-error a cost is an object
limiter.tryAcquire(5)
// @ts-expect-error limits are an array
new Limiter(Limit.requests(1))
// @ts-expect-error made by its functions
new Limit()
// @ts-expect-error no bigint
Limit.requests(5n)
// @ts-expect-error a misspelt field
limiter.tryAcquire({ tokens: 5 })
