package llmrlhttp_test

import (
	"net/http"

	llmrl "github.com/libllmrl/libllmrl/bindings/go"
	"github.com/libllmrl/libllmrl/bindings/go/llmrlhttp"
)

func Example() {
	limiter, err := llmrl.New(nil, llmrl.Requests(500), llmrl.Tokens(200_000), llmrl.InFlight(50))
	if err != nil {
		panic(err)
	}
	client := &http.Client{Transport: &llmrlhttp.Transport{Limiter: limiter}}
	// openai.NewClient(option.WithHTTPClient(client)), anthropic.NewClient(option.WithHTTPClient(client)), or by itself:
	_ = client
	// Output:
}
