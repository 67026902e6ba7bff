#!/usr/bin/env bash
# What `make bench` runs: the packages' own benchmarks of hot paths, then a real cluster.
set -euo pipefail
cd "$(dirname "$0")/.."
printf '== hot paths\n'
go test -run '^$' -bench . -skip 'SimulatedNodes|PodsAtOnce' -benchtime 0.5s -benchmem $(go list ./internal/... ./services/... ./agents/... ) 2>&1 | grep -E '^(pkg|Benchmark)' || true
printf '\n== nodes: %s pods at once on one, and %s that pretend, with 20 pods each\n' "${PODS:=100}" "${NODES:=5000}"
NODES=$NODES go test -run '^$' -bench SimulatedNodes -benchtime 1x ./agents/node | grep '^Benchmark' || true
go test -run '^$' -bench PodsAtOnce -benchtime "${PODS}x" ./agents/node | grep '^Benchmark' || true
printf '\n== a cluster on this machine\n'
go run ./integration/bench
