package llmrlhttp

import (
	"encoding/json"
	"math"
	"regexp"
	"strings"
)

// Assumed for a part that is not text (an image, a sound, a file): its bytes say nothing about its tokens.
const mediaTokens = 1000

// Bytes of text that are taken for one token.
const bytesPerToken = 4

// request is what a request asks for, as far as its address and body tell.
type request struct {
	provider  string // by whose rule it is charged; "" if neither host nor path tell
	model     string
	generates bool  // whether tokens are put out
	prompt    int64 // tokens, estimated
	maxTokens int64 // of all choices together, or llmrl.Unknown
	choices   int64
}

var (
	prompts = []string{"messages", "prompt", "input", "contents", "content", "instructions", "system", "systemInstruction", "system_instruction"}
	texts   = append([]string{"tools", "functions", "response_format"}, prompts...)
	media   = []string{"image", "input_image", "input_audio", "input_file", "file", "document"}
	inline  = []string{"inlineData", "inline_data", "fileData", "file_data"}
	bounds  = []string{"max_completion_tokens", "max_output_tokens", "max_tokens"}
	// Ends of a path; what of them has an output, and what has none.
	generating = []string{"/chat/completions", "/completions", "/responses", "/messages", ":generateContent", ":streamGenerateContent"}
	silent     = []string{"/embeddings", "/moderations", "/rerank", "/count_tokens", ":countTokens", ":embedContent", ":batchEmbedContents"}
	modelPath  = regexp.MustCompile(`/(?:models?|deployments)/([^/]+?)(?::\w*Content\w*)?(?:/|$)`)
	hosts      = [][2]string{
		{"api.openai.com", "openai"},
		{".openai.azure.com", "azure"},
		{".cognitiveservices.azure.com", "azure"},
		{"api.anthropic.com", "anthropic"},
		{"generativelanguage.googleapis.com", "gemini"},
		{"aiplatform.googleapis.com", "gemini"},
	}
)

// readRequest never fails: what cannot be read is left out, and a body that is no JSON object asks for no tokens.
func readRequest(host, path string, body []byte) request {
	path = strings.TrimRight(path, "/")
	var data map[string]any
	if json.Unmarshal(body, &data) != nil {
		data = nil
	}
	r := request{provider: providerOf(strings.ToLower(host), path), maxTokens: -1, choices: 1}
	r.model, _ = data["model"].(string)
	if found := modelPath.FindStringSubmatch(path); r.model == "" && found != nil {
		r.model = found[1]
	}
	r.generates = (endsWith(path, generating) || hasAny(data, prompts)) && !endsWith(path, silent)
	settings, _ := first(data, "generationConfig", "generation_config").(map[string]any)
	if n := max(count(data["n"]), count(settings["candidateCount"])); n > 0 {
		r.choices = n
	}
	bound := count(first(settings, "maxOutputTokens", "max_output_tokens"))
	for i := len(bounds) - 1; i >= 0; i-- {
		if n := count(data[bounds[i]]); n > 0 {
			bound = n
		}
	}
	if bound > 0 {
		r.maxTokens = min(bound*r.choices, maxTokens)
	}
	size, flat := int64(0), int64(0)
	for _, field := range texts {
		add(data[field], &size, &flat)
	}
	r.prompt = min(flat+(size+bytesPerToken-1)/bytesPerToken, maxTokens)
	if r.generates && r.prompt == 0 {
		r.prompt = 1
	}
	return r
}

// add counts bytes of text, and tokens of everything else. How deep it goes the JSON decoder has bounded.
func add(item any, size, flat *int64) {
	switch item := item.(type) {
	case string:
		*size += int64(len(item))
	case []any:
		if len(item) > 0 {
			if _, tokens := item[0].(float64); tokens {
				*flat += int64(len(item)) // a prompt that is already tokens
				return
			}
		}
		for _, part := range item {
			add(part, size, flat)
		}
	case map[string]any:
		kind, _ := item["type"].(string)
		for _, prefix := range media {
			if strings.HasPrefix(kind, prefix) {
				*flat += mediaTokens
				return
			}
		}
		if hasAny(item, inline) {
			*flat += mediaTokens
			return
		}
		for name, part := range item {
			if name != "role" && name != "type" {
				add(part, size, flat)
			}
		}
	}
}

func providerOf(host, path string) string {
	for _, known := range hosts {
		if strings.HasSuffix(host, known[0]) {
			return known[1]
		}
	}
	switch {
	case strings.HasPrefix(host, "bedrock-runtime."):
		return "bedrock"
	case strings.HasSuffix(path, "/messages"):
		return "anthropic"
	case endsWith(path, generating[4:]):
		return "gemini"
	}
	return ""
}

func endsWith(path string, ends []string) bool {
	for _, end := range ends {
		if strings.HasSuffix(path, end) {
			return true
		}
	}
	return false
}

func hasAny(data map[string]any, fields []string) bool {
	for _, field := range fields {
		if _, ok := data[field]; ok {
			return true
		}
	}
	return false
}

func first(data map[string]any, fields ...string) any {
	for _, field := range fields {
		if value, ok := data[field]; ok {
			return value
		}
	}
	return nil
}

// count is a whole number from 1 on that a cost has room for, else 0.
func count(value any) int64 {
	number, _ := value.(float64)
	number = min(number, maxTokens)
	if number < 1 || number != math.Trunc(number) {
		return 0
	}
	return int64(number)
}
