module github.com/libllmrl/libllmrl/bindings/go

go 1.24
