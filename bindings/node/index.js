'use strict'
const { native } = require('./lib/native.js')
const { LimitError, Never, QueueFull, MapFull, DeadlineExceeded, Closed, StalePermit, NoNode } = require('./lib/errors.js')
const { Limit, Weights } = require('./lib/limit.js')
const { Limiter, ManualClock, Permit } = require('./lib/limiter.js')
const { BucketMap, TokenBucket } = require('./lib/bucket.js')
const { Chain, FairQueue, LimiterMap, Router } = require('./lib/many.js')
const { Charging, Lengths, readAnswer } = require('./lib/feedback.js')
const { limitFetch } = require('./lib/fetch.js')

module.exports = {
  BucketMap, Chain, Charging, Closed, DeadlineExceeded, FairQueue, Lengths, Limit, LimitError, Limiter, LimiterMap, ManualClock, MapFull,
  Never, NoNode, Permit, QueueFull, Router, StalePermit, TokenBucket, Weights, limitFetch, readAnswer, version: native.version,
}
