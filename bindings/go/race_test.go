//go:build race

package llmrl

const raceEnabled = true
