#!/usr/bin/env bash
# Installs the pinned code generators into .tools (buf from npm; the Go plugins are tools of go.mod).
set -euo pipefail
cd "$(dirname "$0")/.."
version=1.75.0
if [ "$(.tools/npm/node_modules/.bin/buf --version 2>/dev/null)" != "$version" ]; then
  mkdir -p .tools/npm
  npm install --silent --no-audit --no-fund --prefix .tools/npm "@bufbuild/buf@$version" >/dev/null
fi
