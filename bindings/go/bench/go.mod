module github.com/libllmrl/libllmrl/bindings/go/bench

go 1.24

replace github.com/libllmrl/libllmrl/bindings/go => ../

require (
	github.com/libllmrl/libllmrl/bindings/go v0.0.0-00010101000000-000000000000
	go.uber.org/ratelimit v0.3.1
	golang.org/x/time v0.12.0
)

require github.com/benbjohnson/clock v1.3.0 // indirect
