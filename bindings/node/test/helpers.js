'use strict'
const { Limit, Limiter, ManualClock } = require('..')

/** One a second, and nothing in reserve. */
function oneASecond(given = {}) {
  const clock = new ManualClock()
  return { clock, limiter: new Limiter([Limit.requests(60, { burst: 1 })], { clock, ...given }) }
}

/** Until what has been resolved has gone on. */
const settled = () => new Promise(resolve => setImmediate(resolve))

module.exports = { oneASecond, settled }
