#!/usr/bin/env bash
# What `make test` runs, once the machine has what it needs: generated code, lint, all packages with the race detector,
# then the whole-cluster tests on real binaries.
set -euo pipefail
cd "$(dirname "$0")/.."
step() { printf '\n== %s\n' "$*"; }

step "generated code"
make -s verify-generate
step "lint"
make -s lint
step "build"
make -s build example-image
step "packages, with the race detector"
CGO_ENABLED=1 go test -race -timeout 20m $(go list ./... | grep -v /integration)
step "whole clusters"
go test -count=1 -timeout 30m ./integration/...
