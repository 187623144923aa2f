// Compiled by `npm run types`, not run.
import llmrl = require('llmrl')

export const limiter: llmrl.Limiter = new llmrl.Limiter([llmrl.Limit.requests(1)])
