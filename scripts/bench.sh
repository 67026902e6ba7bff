#!/usr/bin/env bash
# What `make bench` runs: the packages' own benchmarks of hot paths, then a real cluster.
set -euo pipefail
cd "$(dirname "$0")/.."
printf '== hot paths\n'
go test -run '^$' -bench . -skip 'SimulatedNodes|PodStart|PodsAtOnce' -benchtime 0.5s -benchmem $(go list ./internal/... ./services/... ./agents/... ) 2>&1 | grep -E '^(pkg|Benchmark)' || true
printf '\n== %s nodes that pretend, with 20 pods each, in one process; the aim is 100 KiB a node\n' "${NODES:=5000}"
NODES=$NODES go test -run '^$' -bench SimulatedNodes -benchtime 1x ./agents/node | grep '^Benchmark' || true
printf '\n== a cluster on this machine\n'
go run ./integration/bench
