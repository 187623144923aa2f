'use strict'
// What an answer says was used, read while its bytes pass by.

const MAX_TOKENS = 2 ** 40 - 1
const MAX_CACHED = 2 ** 36 - 1
const MAX_OBJECT = 16 * 1024 // bytes of a usage object that are kept; a larger one is none
const MAX_NAME = 32

const INPUT = ['prompt_tokens', 'input_tokens', 'promptTokenCount']
const OUTPUT = ['completion_tokens', 'output_tokens', 'candidatesTokenCount']
const DETAILS = ['prompt_tokens_details', 'input_tokens_details']
const REST = ['cachedContentTokenCount', 'thoughtsTokenCount', 'cache_read_input_tokens', 'cache_creation_input_tokens']
const FIELDS = [...INPUT, ...OUTPUT, ...DETAILS, ...REST]
const [QUOTE, ESCAPE, OPEN, CLOSE, OPEN_LIST, CLOSE_LIST, LF, CR] = [...'"\\{}[]\n\r'].map(mark => mark.charCodeAt(0))

const number = value => (Number.isInteger(value) && value >= 0 && value <= MAX_TOKENS ? value : undefined)

/** `usage` of OpenAI and Anthropic and `usageMetadata` of Gemini as one; undefined if it is not usable. */
function usageOf(usage) {
  const first = names => names.map(name => usage[name]).find(value => value !== undefined && value !== null)
  const prompt = number(first(INPUT))
  const answer = number(first(OUTPUT) ?? 0)
  if (prompt === undefined || answer === undefined) return undefined
  const details = DETAILS.map(name => usage[name]).find(value => value !== null && typeof value === 'object') ?? {}
  const [content, thoughts, read, written] = REST.map(name => number(usage[name]) ?? 0)
  // Anthropic's three are apart from each other.
  const input = Math.min(MAX_TOKENS, prompt + read + written)
  const cached = Math.min(Math.max(content, number(details.cached_tokens) ?? 0) + read, input, MAX_CACHED)
  return { input, output: Math.min(answer + thoughts, MAX_TOKENS - input), cached, cacheWrite: Math.min(written, input - cached, MAX_CACHED) }
}

/** Finds the usage in JSON that comes in pieces of any size: in the outermost object, in its `message` or `response`, and in each
 * object of an outermost list. Keeps nothing of the rest. */
class Scanner {
  found = {}
  final = false // more than what stands in a message that only begins
  #open = [] // brackets and names of the outermost three that are open
  #depth = 0
  #inText = false
  #escaped = false
  #name = '' // the string that was read last
  #kept = undefined
  #keptSize = 0
  #keptDepth = 0

  /** A new document begins. */
  reset() {
    this.#open = []
    this.#depth = 0
    this.#inText = this.#escaped = false
    this.#name = ''
    this.#kept = undefined
  }

  feed(data, from = 0, to = data.length) {
    let keptFrom = from
    for (let at = from; at < to; at++) {
      const byte = data[at]
      if (this.#inText) {
        if (this.#escaped) this.#escaped = false
        else if (byte === ESCAPE) this.#escaped = true
        else if (byte === QUOTE) this.#inText = false
        else if (this.#name.length < MAX_NAME) this.#name += String.fromCharCode(byte)
      } else if (byte === QUOTE) {
        this.#inText = true
        this.#name = ''
      } else if (byte === OPEN || byte === OPEN_LIST) {
        if (this.#opens(byte)) keptFrom = at
      } else if (byte === CLOSE || byte === CLOSE_LIST) {
        if (this.#closes()) {
          this.#keep(data.subarray(keptFrom, at + 1))
          this.#read()
        }
      }
    }
    this.#keep(data.subarray(keptFrom, to))
  }

  #opens(byte) {
    const wanted = this.#kept === undefined && byte === OPEN && this.#wanted()
    if (this.#depth < 3) this.#open.push([byte, this.#name])
    this.#depth++
    if (wanted) {
      this.#kept = []
      this.#keptSize = 0
      this.#keptDepth = this.#depth
    }
    return wanted
  }

  #wanted() {
    if (this.#name !== 'usage' && this.#name !== 'usageMetadata') return false
    const [outer, inner] = this.#open
    if (this.#depth === 1) return outer[0] === OPEN
    return this.#depth === 2 && inner[0] === OPEN && (outer[0] === OPEN_LIST || inner[1] === 'message' || inner[1] === 'response')
  }

  #closes() {
    const ends = this.#kept !== undefined && this.#depth === this.#keptDepth
    this.#depth = Math.max(0, this.#depth - 1)
    this.#open.length = Math.min(this.#open.length, this.#depth)
    this.#name = '' // what follows is no value of the name before
    return ends
  }

  #keep(data) {
    if (this.#kept === undefined || this.#keptSize > MAX_OBJECT) return
    this.#keptSize += data.length
    if (this.#keptSize <= MAX_OBJECT) this.#kept.push(Buffer.from(data))
  }

  #read() {
    const kept = this.#kept
    this.#kept = undefined
    if (this.#keptSize > MAX_OBJECT) return
    let usage
    try {
      usage = JSON.parse(Buffer.concat(kept).toString())
    } catch {
      return
    }
    // A stream tells it in parts, and counts that grow more than once.
    for (const name of FIELDS) if (usage[name] !== undefined && usage[name] !== null) this.found[name] = usage[name]
    this.final ||= this.#depth === 1 || this.#open[1][1] !== 'message'
  }
}

/** Reads the usage out of an answer's body while it passes by: JSON, or server-sent events, cut into pieces anyhow. Keeps at most 16
 * KiB, and nothing that comes throws. */
class UsageReader {
  #scanner = new Scanner()
  #events
  #head = '' // what of a line has come, as far as it tells whether to read it

  constructor(contentType) {
    this.#events = contentType.startsWith('text/event-stream')
  }

  feed(data) {
    if (!this.#events) {
      this.#scanner.feed(data)
      return
    }
    for (let at = 0; at < data.length; ) {
      let end = at
      while (end < data.length && data[end] !== LF && data[end] !== CR) end++
      this.#part(data, at, end)
      if (end < data.length) {
        this.#scanner.reset()
        this.#head = ''
      }
      at = end + 1
    }
  }

  #part(data, at, end) {
    while (this.#head.length < 5 && at < end) this.#head += String.fromCharCode(data[at++])
    if (this.#head === 'data:' && at < end) this.#scanner.feed(data, at, end)
  }

  /** What was told until now; undefined if nothing was. */
  get usage() {
    return usageOf(this.#scanner.found)
  }

  /** Whether that is more than the start of Anthropic's streams, which tells the input alone. */
  get final() {
    return this.#scanner.final
  }
}

module.exports = { UsageReader }
