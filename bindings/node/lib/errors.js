'use strict'
// What can go wrong, and how a status of the C library becomes an error.

/** Base of every error that is about limits rather than about arguments. */
class LimitError extends Error {
  /** Of which limiter of a Chain it tells, 0 is the first; undefined where there is no chain. */
  level

  get name() {
    return this.constructor.name
  }

  /** The name in capitals, such as `LLMRL_QUEUE_FULL`: the same after a bundler has renamed the class. */
  get code() {
    return this.constructor.code
  }
}

class Never extends LimitError {
  static code = 'LLMRL_NEVER'
}
class QueueFull extends LimitError {
  static code = 'LLMRL_QUEUE_FULL'
}
class MapFull extends LimitError {
  static code = 'LLMRL_MAP_FULL'
}
class DeadlineExceeded extends LimitError {
  static code = 'LLMRL_DEADLINE_EXCEEDED'
}
class Closed extends LimitError {
  static code = 'LLMRL_CLOSED'
}
class StalePermit extends LimitError {
  static code = 'LLMRL_STALE_PERMIT'
}
class NoNode extends LimitError {
  static code = 'LLMRL_NO_NODE'
}

const NULL = -1
const RANGE = -4
const COST = -5
const INDEX = -6
const NEVER = -7
const FULL = -8
const DEADLINE = -9
const CLOSED = -10
const STALE = -11
const MEMORY = -13
const SAVED = -16
const NODE = -17

/** The error for a negative `status` that the call `what` got back. `states`: those of limits(), where they are known. */
function fromStatus(status, what, states = [], cost = undefined) {
  switch (status) {
    case NEVER:
      return new Never(`${what}: ${never(states, cost)}`)
    case FULL:
      return new QueueFull(
        `${what}: the limiter is full: maxWaiters wait or maxPermits are held; shed load, or create it with larger numbers`,
      )
    case DEADLINE:
      return new DeadlineExceeded(`${what}: not admitted within the timeout; wait longer, send less, or treat it as overload`)
    case CLOSED:
      return new Closed(`${what}: the limiter is closed; create a new one to go on`)
    case STALE:
      return new StalePermit(`${what}: this permit was settled, released or cancelled before; each permit ends once`)
    case INDEX: {
      const fit = what === 'align' ? states.flatMap(({ kind }, i) => (kind === 'fixedWindow' ? [i] : [])) : [...states.keys()]
      return new RangeError(
        `${what}: no such limit, or not of the kind that this call is for; index must be one of ${fit.join(', ') || 'none'}`,
      )
    }
    case RANGE:
      return new RangeError(
        `${what}: a value is outside its accepted range: amount 1 to 2**40-1 (in flight: 1 to 2**19-1), burst 1 to 2**40-1, ` +
          'per a millionth to 316224000000 milliseconds (3660 days), the rate of a bucket or of pacing at most 1e9 a second',
      )
    case COST:
      return new RangeError(
        `${what}: a cost is outside its accepted range: requests 1 to 2**40-1, input and output 0 to 2**40-1, together as well, ` +
          'cached and cacheWrite 0 to 2**36-1',
      )
    case NODE:
      return new NoNode(`${what}: the router has no such node; or none that has a weight: add one, or give one a weight above 0`)
    case MEMORY:
      return new Error(`${what}: the C library could not allocate`)
    default:
      return new Error(`${what}: unexpected status ${status} from the C library; this is a bug in llmrl`)
  }
}

const WEIGHT = {
  requests: cost => cost[0],
  tokens: cost => cost[1] + cost[2],
  inputTokens: cost => cost[1],
  outputTokens: cost => cost[2],
}

function never(states, cost) {
  for (const [index, { kind, meter, burst }] of cost ? states.entries() : []) {
    const weight = WEIGHT[meter]?.(cost) ?? 0
    if (kind !== 'pacing' && weight > burst) {
      const bucket = kind === 'tokenBucket'
      return (
        `a cost of ${weight} (${meter}) can never fit limit ${index}, whose ${bucket ? 'burst' : 'amount'} is ${burst}; ` +
        `send a smaller request, ${bucket ? 'raise burst, ' : ''}or give that limit oversize: 'whenFull'`
      )
    }
  }
  return 'the cost is larger than a limit can ever hold; send a smaller request, or raise that limit'
}

module.exports = {
  LimitError, Never, QueueFull, MapFull, DeadlineExceeded, Closed, StalePermit, NoNode,
  fromStatus, NULL, RANGE, FULL, NEVER, STALE, SAVED,
}
