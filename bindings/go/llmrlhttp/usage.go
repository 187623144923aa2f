package llmrlhttp

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	llmrl "github.com/libllmrl/libllmrl/bindings/go"
)

const (
	maxTokens = 1<<40 - 1
	maxCached = 1<<36 - 1
	maxObject = 16 << 10 // bytes of a usage object that are kept; a larger one is none
	maxName   = 32
)

// scanner finds the usage in JSON that comes in pieces of any size: in the outermost object, in its message or response, and in each
// object of an outermost list. It keeps nothing of the rest.
type scanner struct {
	found map[string]json.RawMessage
	final bool // not what stands in a message that only begins

	open     [3]level // the outermost brackets that are open
	depth    int
	inText   bool
	escaped  bool
	name     []byte // the string that was read last
	kept     []byte
	keeping  int // the depth inside of what is kept, or 0
	overfull bool
}

type level struct {
	bracket byte
	name    string
}

// reset: a new document begins.
func (s *scanner) reset() {
	*s = scanner{found: s.found, final: s.final, name: s.name[:0], kept: s.kept[:0]}
}

func (s *scanner) feed(data []byte) {
	for _, b := range data {
		if s.keeping > 0 {
			s.keep(b)
		}
		if s.inText {
			switch {
			case s.escaped:
				s.escaped = false
			case b == '\\':
				s.escaped = true
			case b == '"':
				s.inText = false
				continue
			}
			if len(s.name) < maxName {
				s.name = append(s.name, b)
			}
			continue
		}
		switch b {
		case '"':
			s.inText = true
			s.name = s.name[:0]
		case '{', '[':
			s.opens(b)
		case '}', ']':
			s.closes()
		}
	}
}

func (s *scanner) keep(b byte) {
	if len(s.kept) == maxObject {
		s.overfull = true
		return
	}
	s.kept = append(s.kept, b)
}

func (s *scanner) opens(b byte) {
	wanted := s.keeping == 0 && b == '{' && s.wanted()
	if s.depth < len(s.open) {
		s.open[s.depth] = level{b, string(s.name)}
	}
	s.depth++
	if wanted {
		s.keeping, s.overfull = s.depth, false
		s.kept = append(s.kept[:0], b)
	}
}

func (s *scanner) wanted() bool {
	if name := string(s.name); name != "usage" && name != "usageMetadata" {
		return false
	}
	outer, inner := s.open[0], s.open[1]
	if s.depth == 1 {
		return outer.bracket == '{'
	}
	return s.depth == 2 && inner.bracket == '{' && (outer.bracket == '[' || inner.name == "message" || inner.name == "response")
}

func (s *scanner) closes() {
	ends := s.keeping > 0 && s.depth == s.keeping
	s.depth = max(0, s.depth-1)
	s.name = s.name[:0] // what follows is no value of the name before
	if !ends {
		return
	}
	s.keeping = 0
	var usage map[string]json.RawMessage
	if s.overfull || json.Unmarshal(s.kept, &usage) != nil {
		return
	}
	for _, name := range fields {
		// A stream tells it in parts, and counts that grow more than once.
		if value, ok := usage[name]; ok && string(value) != "null" {
			if s.found == nil {
				s.found = map[string]json.RawMessage{}
			}
			s.found[name] = value
		}
	}
	s.final = s.final || s.depth == 1 || s.open[1].name != "message"
}

var (
	inputs  = []string{"prompt_tokens", "input_tokens", "promptTokenCount"}
	outputs = []string{"completion_tokens", "output_tokens", "candidatesTokenCount"}
	details = []string{"prompt_tokens_details", "input_tokens_details"}
	fields  = slices.Concat(inputs, outputs, details,
		[]string{"cachedContentTokenCount", "thoughtsTokenCount", "cache_read_input_tokens", "cache_creation_input_tokens"})
)

// usage is what was told until now.
func (s *scanner) usage() (used llmrl.Cost, ok bool) {
	input, output := s.first(inputs), s.first(outputs)
	if output == nil {
		output = json.RawMessage("0")
	}
	in, ok := tokens(input)
	out, ok2 := tokens(output)
	if !ok || !ok2 {
		return llmrl.Cost{}, false
	}
	var detail struct {
		Cached json.RawMessage `json:"cached_tokens"`
	}
	_ = json.Unmarshal(s.first(details), &detail) // nothing, if it is none
	cached, _ := tokens(detail.Cached)
	also, _ := tokens(s.found["cachedContentTokenCount"])
	thoughts, _ := tokens(s.found["thoughtsTokenCount"])
	read, _ := tokens(s.found["cache_read_input_tokens"])
	written, _ := tokens(s.found["cache_creation_input_tokens"])
	// Anthropic's three are apart from each other.
	in = min(maxTokens, in+read+written)
	cached = min(max(cached, also)+read, in, maxCached)
	return llmrl.Cost{Input: in, Output: min(out+thoughts, maxTokens-in), Cached: cached, CacheWrite: min(written, in-cached, maxCached)}, true
}

func (s *scanner) first(names []string) json.RawMessage {
	for _, name := range names {
		if value, ok := s.found[name]; ok {
			return value
		}
	}
	return nil
}

func tokens(value json.RawMessage) (int64, bool) {
	var number int64
	if len(value) == 0 || json.Unmarshal(value, &number) != nil || number < 0 || number > maxTokens {
		return 0, false
	}
	return number, true
}

// reader reads the usage out of an answer's body while it passes by: JSON, or server-sent events. However that is cut into
// pieces, the result is the same. It keeps at most 16 KiB.
type reader struct {
	scanner
	events bool
	head   []byte // what of a line has come; something else than the start of "data:" when it is not to be read
}

// readerFor is nil for what tells no usage, as what is spoken or drawn.
func readerFor(contentType string) *reader {
	contentType = strings.ToLower(strings.TrimSpace(contentType))
	events := strings.HasPrefix(contentType, "text/event-stream")
	if !events && contentType != "" && !strings.Contains(contentType, "json") {
		return nil
	}
	return &reader{events: events}
}

var dataField = []byte("data:")

func (r *reader) feed(data []byte) {
	if !r.events {
		r.scanner.feed(data)
		return
	}
	for {
		end := bytes.IndexAny(data, "\r\n")
		if end < 0 {
			r.part(data)
			return
		}
		r.part(data[:end])
		r.reset()
		r.head = r.head[:0]
		data = data[end+1:]
	}
}

func (r *reader) part(data []byte) {
	if missing := len(dataField) - len(r.head); missing > 0 {
		missing = min(missing, len(data))
		r.head = append(r.head, data[:missing]...)
		data = data[missing:]
	}
	if bytes.Equal(r.head, dataField) {
		r.scanner.feed(data)
	}
}
