import llmrl from './index.js'

export const {
  BucketMap, Chain, Charging, Closed, DeadlineExceeded, FairQueue, Lengths, Limit, LimitError, Limiter, LimiterMap, ManualClock, MapFull,
  Never, NoNode, Permit, QueueFull, Router, StalePermit, TokenBucket, Weights, limitFetch, readAnswer, version,
} = llmrl
