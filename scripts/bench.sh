#!/usr/bin/env bash
# What `make bench` runs: the packages' own benchmarks of hot paths, then a real cluster.
set -euo pipefail
cd "$(dirname "$0")/.."
printf '== hot paths\n'
go test -run '^$' -bench . -benchtime 0.5s -benchmem $(go list ./internal/... ./services/... ./agents/... ) 2>&1 | grep -E '^(pkg|Benchmark)' || true
printf '\n== a cluster on this machine\n'
go run ./integration/bench
