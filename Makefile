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

FLEETS ?= 50 200 1000 5000

bench: build ## the figures of docs/performance.md; takes the machine for an hour
	go run ./bench/latency --binary bin/plumb
	CGO_ENABLED=0 go build -o bin/fleet ./bench/fleet
	mkdir -p docs/performance
	for n in $(FLEETS); do bin/fleet --binary bin/plumb --apps $$n -o json > docs/performance/fleet-$$n.json || exit 1; done
	bin/fleet --publish docs/performance.md docs/performance/fleet-*.json
