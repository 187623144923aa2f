// Package llmrl limits what clients of LLM APIs send: several limits at once (requests and tokens per minute or day, in buckets or
// windows, requests in flight), one queue in which those who wait are served in the order in which they came, exact times instead of
// polling. It is a thin layer over the C library libllmrl, which is linked in statically.
//
// A request asks with an estimate of its [Cost], and settles with what was really used. Where golang.org/x/time/rate has a word
// for something, it is the same here: Allow, AllowN, Wait, WaitN. Package llmrlhttp does all of it for an http.Client.
package llmrl
