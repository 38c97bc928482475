VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)

.PHONY: build check test bench

build: ## bin/plumb
	CGO_ENABLED=0 go build -trimpath -ldflags "$(LDFLAGS)" -o bin/plumb ./cmd/plumb

check: ## format, vet, staticcheck, layers
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo "run gofmt"; exit 1; }
	go vet ./...
	go tool staticcheck ./...
	go test .

test: ## everything
	go test ./...

bench: build ## the figures of docs/performance.md
	go run ./bench/latency --binary bin/plumb
