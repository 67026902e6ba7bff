#!/usr/bin/env bash
# Installs what is missing on a Debian or Ubuntu machine and starts the Docker Engine where no init does.
#   scripts/setup.sh run    what `make up` needs
#   scripts/setup.sh test   that, and what `make test` needs besides
# It changes nothing that is there already, and may be run any number of times.
set -euo pipefail
cd "$(dirname "$0")/.."
purpose=${1:-run}

say() { echo "setup: $*" >&2; }
die() { say "$*"; exit 1; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
have() { command -v "$1" >/dev/null 2>&1; }

declare -A missing=()
need() { # command package
  have "$1" || [ -x "/usr/sbin/$1" ] || [ -x "/sbin/$1" ] || missing[$2]=1
}

need dockerd docker.io
need ip iproute2
need iptables iptables
need busybox busybox-static
need tar tar
if ! have go; then missing[golang-go]=1; fi
if [ "$purpose" = test ]; then
  need nft nftables
  need conntrack conntrack
  need qemu-system-x86_64 qemu-system-x86
  need cpio cpio
  need modprobe kmod
  need gcc gcc
  need node nodejs
  need npm npm
  need openssl openssl
  need dbus-daemon dbus-daemon
  need losetup mount
  need mkfs.ext4 e2fsprogs
  need apparmor_parser apparmor
fi
if [ ${#missing[@]} -gt 0 ]; then
  have apt-get || die "please install: ${!missing[*]} (this script knows apt-get only)"
  say "installing ${!missing[*]}"
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${!missing[@]}" >/dev/null
fi
if ! have docker && apt-cache show docker-cli >/dev/null 2>&1; then
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends docker-cli >/dev/null
fi
# A Go from 1.21 on fetches the toolchain that go.mod names by itself.
minor=$(go env GOVERSION 2>/dev/null | sed -n 's/^go1\.\([0-9]*\).*/\1/p')
[ -n "$minor" ] && [ "$minor" -ge 21 ] || die "Go 1.21 or newer is needed (https://go.dev/dl), found: $(go version 2>/dev/null || echo none)"

# A machine that was switched off leaves process IDs behind that others may have now: the engine would not start.
drop_stale() { # file command
  local pid
  pid=$(as_root cat "$1" 2>/dev/null) || return 0
  if [ "$(cat "/proc/$pid/comm" 2>/dev/null)" != "$2" ] || grep -q '^State:.Z' "/proc/$pid/status" 2>/dev/null; then
    as_root rm -f "$1"
  fi
}

if ! docker version >/dev/null 2>&1; then
  if [ -d /run/systemd/system ]; then
    say "starting the Docker Engine (systemd)"
    as_root systemctl enable --now docker
  else
    say "starting the Docker Engine"
    drop_stale /var/run/docker.pid dockerd
    drop_stale /var/run/docker/containerd/containerd.pid containerd
    as_root sh -c 'setsid dockerd >/var/log/dockerd.log 2>&1 </dev/null &'
  fi
  for _ in $(seq 150); do
    docker version >/dev/null 2>&1 || as_root docker version >/dev/null 2>&1 && break
    sleep 0.2
  done
  as_root docker version >/dev/null 2>&1 || die "the Docker Engine does not answer; its log: /var/log/dockerd.log or journalctl -u docker"
fi

if [ "$purpose" = test ]; then
  scripts/vm-kernel.sh
  if [ ! -x .tools/bin/helm ]; then
    say "building helm"
    mkdir -p .tools/bin && GOBIN=$PWD/.tools/bin GOFLAGS= go install helm.sh/helm/v3/cmd/helm@v3.22.0
  fi
  if ! have kubectl; then
    say "kubectl is not installed: the tests use the one that is built into bin/karve"
  fi
fi
