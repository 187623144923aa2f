'use strict'
// Waiting: one timer for the event loop, whatever the number of limiters and of those who wait.
//
// Of those who wait in one line only the first asks when it is due: nobody behind it is served before it, and when it is decided, the
// next one asks. So a limit that is corrected while a thousand wait moves one timer and not a thousand. The others are there for
// their deadlines alone. Wakes of this thread stand in a list when the call that caused them returns, and are looked after at once;
// those of other threads come through the addon, one call for a burst.
const { native, shared, n, bits, OBJECT, TICKET, STATUS, WAIT, WOKEN, COUNT, WAKES, OK, PENDING } = require('./native.js')

/** Those who wait for tickets that one object of the addon is told of. */
class Hub {
  constructor(at, timed) {
    this.at = at
    // By a manual clock nothing happens by itself, and advancing it wakes whoever is due.
    this.timed = timed
    this.waiting = new Map()
  }
}

/** A line in which nobody passes: a linked list, as those who leave are anywhere in it. */
class Line {
  first = undefined
  last = undefined

  enter(waiter) {
    waiter.before = this.last
    if (this.last) this.last.behind = waiter
    else this.first = waiter
    this.last = waiter
  }

  leave(waiter) {
    if (waiter.before) waiter.before.behind = waiter.behind
    else this.first = waiter.behind
    if (waiter.behind) waiter.behind.before = waiter.before
    else this.last = waiter.before
  }
}

// By number in the addon; a hub is here while somebody waits.
const hubs = new Map()
let holding = 0

class Waiter {
  before = undefined
  behind = undefined
  deadline = Infinity
  due = Infinity
  place = -1 // in the heap
  done = false

  constructor(owner, signal, resolve, reject) {
    this.owner = owner
    this.timed = owner._hub.timed // a router's may become so while somebody waits
    this.ticket = bits[TICKET]
    this.signal = signal
    this.resolve = resolve
    this.reject = reject
  }
}

/** A heap of waiters by the time at which they ask; each knows its place, so that none stays when it has left. */
const heap = []

function put(waiter, place) {
  heap[place] = waiter
  waiter.place = place
}

function rise(waiter, place) {
  while (place > 0) {
    const above = (place - 1) >> 1
    if (heap[above].due <= waiter.due) break
    put(heap[above], place)
    place = above
  }
  put(waiter, place)
}

function sink(waiter, place) {
  for (;;) {
    let below = 2 * place + 1
    if (below >= heap.length) break
    if (below + 1 < heap.length && heap[below + 1].due < heap[below].due) below++
    if (heap[below].due >= waiter.due) break
    put(heap[below], place)
    place = below
  }
  put(waiter, place)
}

function disarm(waiter) {
  const { place } = waiter
  if (place < 0) return
  waiter.place = -1
  const last = heap.pop()
  if (last === waiter) return
  if (place > 0 && heap[(place - 1) >> 1].due > last.due) rise(last, place)
  else sink(last, place)
}

let timer
let timerAt = Infinity
const LONGEST = 2 ** 31 - 1 // of setTimeout

function setTimer(now) {
  const due = heap.length ? heap[0].due : Infinity
  if (due === timerAt) return
  clearTimeout(timer)
  timerAt = due
  if (due < Infinity) timer = setTimeout(fire, Math.min(LONGEST, Math.max(0, Math.ceil(due - now))))
}

function fire() {
  timerAt = Infinity
  const now = performance.now()
  while (heap.length && heap[0].due <= now) {
    const waiter = heap[0]
    disarm(waiter)
    step(waiter)
  }
  setTimer(now)
  drain()
}

function arm(waiter, waitNs) {
  disarm(waiter)
  const now = performance.now()
  const line = waiter.owner._line
  let due = waiter.deadline
  if (waitNs < Infinity && (due <= now || line === undefined || line.first === waiter)) due = now + waitNs / 1e6
  waiter.due = due
  if (due < Infinity) {
    heap.push(waiter)
    rise(waiter, heap.length - 1)
  }
  setTimer(now)
}

// One listener for a signal: a thousand requests may have the same one.
const aborts = new WeakMap()

function listen(waiter) {
  const { signal } = waiter
  let entry = aborts.get(signal)
  if (entry === undefined) {
    entry = { waiters: new Set(), abort: () => abort(entry.waiters, signal) }
    aborts.set(signal, entry)
    signal.addEventListener('abort', entry.abort)
  }
  entry.waiters.add(waiter)
}

function unlisten(waiter) {
  const { signal } = waiter
  const entry = aborts.get(signal)
  entry.waiters.delete(waiter)
  if (entry.waiters.size === 0) {
    aborts.delete(signal)
    signal.removeEventListener('abort', entry.abort)
  }
}

function abort(waiters, signal) {
  for (const waiter of [...waiters]) {
    n[OBJECT] = waiter.owner._at
    bits[TICKET] = waiter.ticket
    native.cancel()
    leave(waiter)
    waiter.reject(signal.reason)
  }
  drain()
}

// Those who have become the first of their line.
let next = []

function leave(waiter) {
  waiter.done = true
  disarm(waiter)
  const { _hub: hub, _line: line } = waiter.owner
  hub.waiting.delete(waiter.ticket)
  if (hub.waiting.size === 0) hubs.delete(hub.at)
  if (waiter.timed && --holding === 0) hold(false)
  if (waiter.signal !== undefined) unlisten(waiter)
  if (line === undefined) return
  const wasFirst = line.first === waiter
  line.leave(waiter)
  if (wasFirst && line.first !== undefined) next.push(line.first)
}

/** Asks how a ticket stands; whether that is decided. */
function step(waiter) {
  if (waiter.done) return true
  const { owner } = waiter
  n[OBJECT] = owner._at
  bits[TICKET] = waiter.ticket
  native.poll()
  const status = n[STATUS]
  if (status === PENDING) {
    if (waiter.timed) arm(waiter, n[WAIT])
    return false
  }
  if (status !== OK) {
    const error = owner._error(status, 'acquire')
    leave(waiter)
    waiter.reject(error)
    return true
  }
  const permit = owner._take()
  // Whoever came earlier is held as well, and is told first.
  const line = owner._line
  while (line !== undefined && line.first !== waiter && step(line.first));
  leave(waiter)
  waiter.resolve(permit)
  return true
}

let draining = false

/** Looks after all who were woken. To be called when n[WOKEN] is not 0 after a call of the addon. */
function drain() {
  if (draining) return
  draining = true
  let more = 0
  try {
    do {
      const first = next
      next = []
      for (const waiter of first) step(waiter)
      native.takeWakes()
      // What steps write leaves the places of these alone, but not that of their number.
      more = n[COUNT]
      for (let i = 0; i < more; i++) {
        const waiter = hubs.get(n[WAKES + 2 * i])?.waiting.get(bits[WAKES + 2 * i + 1])
        if (waiter !== undefined) step(waiter)
      }
    } while (more !== 0 || next.length !== 0)
  } finally {
    draining = false
  }
}

shared.drain = drain

function hold(yes) {
  n[COUNT] = yes ? 1 : 0
  native.hold()
}

/** Waits for the ticket in the buffer, whose wait and timeout stand there, too. A promise of what owner._take() makes of it. */
function wait(owner, timeoutNs, signal) {
  return new Promise((resolve, reject) => {
    const waiter = new Waiter(owner, signal, resolve, reject)
    const hub = owner._hub
    const waitNs = n[WAIT]
    if (hub.waiting.size === 0) hubs.set(hub.at, hub)
    hub.waiting.set(waiter.ticket, waiter)
    owner._line?.enter(waiter)
    if (signal !== undefined) listen(waiter)
    if (waiter.timed) {
      if (holding++ === 0) hold(true)
      if (timeoutNs < Infinity) waiter.deadline = performance.now() + timeoutNs / 1e6
      arm(waiter, waitNs)
    }
    if (n[WOKEN] !== 0) drain()
  })
}

module.exports = { Hub, Line, wait, drain }
