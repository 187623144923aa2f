'use strict'
// What a request to an LLM's API asks for, read from its URL and its body.

const MEDIA_TOKENS = 1000 // assumed for a part that is not text: its bytes say nothing about its tokens

const PROMPTS = ['messages', 'prompt', 'input', 'contents', 'content', 'instructions', 'system', 'systemInstruction', 'system_instruction']
const TEXTS = [...PROMPTS, 'tools', 'functions', 'response_format']
const MEDIA = /^(image|input_image|input_audio|input_file|file|document)/
const INLINE = ['inlineData', 'inline_data', 'fileData', 'file_data']
const BOUNDS = ['max_completion_tokens', 'max_output_tokens', 'max_tokens']

// Ends of a path: what of them has an output, and what has none.
const GENERATING = /(\/chat\/completions|\/completions|\/responses|\/messages|:generateContent|:streamGenerateContent)$/
const SILENT = /(\/embeddings|\/moderations|\/rerank|\/count_tokens|:countTokens|:embedContent|:batchEmbedContents)$/
const MODEL = /\/(?:models?|deployments)\/([^/]+?)(?::\w*Content\w*)?(?:\/|$)/
const HOSTS = [
  ['api.openai.com', 'openai'],
  ['.openai.azure.com', 'azure'],
  ['.cognitiveservices.azure.com', 'azure'],
  ['api.anthropic.com', 'anthropic'],
  ['generativelanguage.googleapis.com', 'gemini'],
  ['aiplatform.googleapis.com', 'gemini'],
]

function place(url) {
  try {
    const { hostname, pathname } = new URL(url, 'http://nowhere.invalid')
    return [hostname.toLowerCase(), pathname.replace(/\/+$/, '')]
  } catch {
    return ['', '']
  }
}

function providerOf(host, path) {
  for (const [name, provider] of HOSTS) if (host.endsWith(name)) return provider
  if (host.startsWith('bedrock-runtime.')) return 'bedrock'
  if (path.endsWith('/messages')) return 'anthropic'
  return /:(generate|streamGenerate)Content$/.test(path) ? 'gemini' : ''
}

function object(body) {
  try {
    const value = JSON.parse(body)
    return value !== null && typeof value === 'object' && !Array.isArray(value) ? value : {}
  } catch {
    return {}
  }
}

const count = value => (Number.isSafeInteger(value) && value >= 1 ? value : undefined)

function settings(data) {
  const value = data.generationConfig ?? data.generation_config
  return value !== null && typeof value === 'object' ? value : {}
}

function bound(data) {
  for (const field of BOUNDS) {
    const value = count(data[field])
    if (value !== undefined) return value
  }
  const { maxOutputTokens, max_output_tokens } = settings(data)
  return count(maxOutputTokens ?? max_output_tokens)
}

function modelOf(path, data) {
  if (typeof data.model === 'string') return data.model
  const found = MODEL.exec(path)
  if (!found) return ''
  try {
    return decodeURIComponent(found[1])
  } catch {
    return found[1]
  }
}

/** UTF-8 bytes of text, and tokens of everything else. By a stack of its own, so that no nesting is too deep. */
function text(data) {
  let size = 0
  let flat = 0
  const stack = TEXTS.filter(field => field in data).map(field => data[field])
  while (stack.length) {
    const item = stack.pop()
    if (typeof item === 'string') size += Buffer.byteLength(item)
    else if (Array.isArray(item)) {
      if (Number.isInteger(item[0])) flat += item.length // a prompt that is tokens already
      else for (const inner of item) stack.push(inner)
    } else if (item !== null && typeof item === 'object') {
      if ((typeof item.type === 'string' && MEDIA.test(item.type)) || INLINE.some(field => field in item)) flat += MEDIA_TOKENS
      else for (const [key, inner] of Object.entries(item)) if (key !== 'role' && key !== 'type') stack.push(inner)
    }
  }
  return { size, flat }
}

/** Reads a request of OpenAI's, Anthropic's or Gemini's kind. What cannot be read is left out, and nothing throws. */
function readAsk(url, body) {
  const [host, path] = place(url)
  const data = object(body)
  const generates = (GENERATING.test(path) || PROMPTS.some(field => field in data)) && !SILENT.test(path)
  return {
    provider: providerOf(host, path),
    model: modelOf(path, data),
    stream: data.stream === true || path.includes('streamGenerateContent'),
    generates,
    ...text(data),
    maxTokens: bound(data),
    choices: count(data.n) ?? count(settings(data).candidateCount) ?? 1,
  }
}

module.exports = { readAsk }
