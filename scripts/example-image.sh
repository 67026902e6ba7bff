#!/usr/bin/env bash
# Builds the example images on the machine's own engine: my-app:latest (version 1) and my-app:v2. Each holds the static
# program and a busybox shell, nothing else; no registry is needed.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root/bin" "$root/tmp" "$root/etc"
CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o "$root/my-app" ./examples/my-app
cp "$(command -v busybox)" "$root/bin/busybox"
for applet in sh ls cat echo env id ps grep head tail wget nc nslookup sleep date hostname ping ip top vi tar kill mkdir touch dd fallocate mount umount true false; do
  ln -sf busybox "$root/bin/$applet"
done
echo 'root:x:0:0:root:/:/bin/sh' >"$root/etc/passwd"
for tag in latest:1 v2:2; do
  tar -C "$root" -c . | docker import \
    --change 'ENTRYPOINT ["/my-app"]' --change 'EXPOSE 8080' --change 'ENV PATH=/bin' --change "ENV VERSION=${tag#*:}" \
    - "my-app:${tag%:*}" >/dev/null
  echo "built my-app:${tag%:*}"
done
