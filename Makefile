# Karve. `make help` lists what there is.
SHELL := /bin/bash
export GOFLAGS := -trimpath -buildvcs=false
export CGO_ENABLED ?= 0

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X karve.dev/karve/internal/version.build=$(VERSION)
BUF     := .tools/npm/node_modules/.bin/buf
SUDO    := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

.DEFAULT_GOAL := help
.PHONY: help
help: ## List the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: up
up: setup build ## Set everything up and start a cluster
	$(SUDO) bin/karve up $(ARGS)

.PHONY: down
down: ## Stop the cluster and remove its containers, networks and rules (data stays)
	$(SUDO) bin/karve down $(ARGS)

.PHONY: setup
setup: ## Install what running needs and is missing
	@scripts/setup.sh run

.PHONY: build
build: ## Build bin/karve and bin/karved
	go build -ldflags '$(LDFLAGS)' -o bin/karved ./cmd/karved
	go build -ldflags '$(LDFLAGS)' -o bin/karve ./cmd/karve

.PHONY: example-image
example-image: ## Build my-app:latest and my-app:v2 on this machine's engine
	@scripts/example-image.sh

.PHONY: generate
generate: ## Generate gen/ from proto/
	@scripts/tools.sh
	$(BUF) generate

.PHONY: verify-generate
verify-generate: ## Fail when gen/ differs from its sources (cured by: make generate)
	@scripts/tools.sh
	@rm -rf .tools/gen && mkdir -p .tools/gen && $(BUF) generate --output .tools/gen
	@diff -r gen .tools/gen/gen || { echo "gen/ is out of date: run make generate"; exit 1; }

.PHONY: lint
lint: ## Check formatting, vet, and the protos
	@scripts/tools.sh
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); echo "not formatted: run make fix-lint"; exit 1; }
	go vet ./...
	$(BUF) lint

.PHONY: fix-lint
fix-lint: ## Format what lint complains about
	gofmt -w $$(git ls-files '*.go')

.PHONY: test
test: ## Install what tests need, then run every test: fast, engine and whole clusters
	@scripts/setup.sh test
	@scripts/test.sh

.PHONY: integration
integration: build example-image ## Run only the whole-cluster tests
	$(SUDO) env "PATH=$$PATH" go test -count=1 -timeout 20m ./integration/...

.PHONY: bench
bench: build example-image ## Measure start, memory, idle cost, pod start and API throughput
	@scripts/bench.sh
