#!/bin/sh
# Fetches the kernel that tests boot in a virtual machine (internal/vmtest): Debian's cloud kernel and its modules,
# unpacked, not installed. Does nothing when it is there already.
#
#   scripts/vm-kernel.sh [directory]      default: $KARVE_VM_KERNEL, else ~/.cache/karve/vm-kernel
set -eu

dir=${1:-${KARVE_VM_KERNEL:-${XDG_CACHE_HOME:-$HOME/.cache}/karve/vm-kernel}}
# The networking and its drivers, and file systems: the whole tree is many times as large.
parts="net drivers/net lib crypto fs"
there() { for part in vmlinuz $(printf 'modules/%s ' $parts); do [ -e "$dir/$part" ] || return 1; done; }
if there; then
	echo "$dir"
	exit 0
fi
command -v apt-get >/dev/null || { echo "vm-kernel.sh: needs apt-get (Debian or Ubuntu); put a kernel as $dir/vmlinuz and its modules as $dir/modules by hand" >&2; exit 1; }

case $(. /etc/os-release && echo "$ID") in
	ubuntu) meta=linux-image-virtual extra=linux-modules ;;
	*) meta=linux-image-cloud-amd64 extra= ;;
esac
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
package=$(apt-cache depends "$meta" 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
if [ -z "$package" ]; then
	apt-get update >&2
	package=$(apt-cache depends "$meta" | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
fi
[ -n "$package" ] || { echo "vm-kernel.sh: no package $meta; try apt-get update" >&2; exit 1; }

cd "$tmp"
echo "fetching $package" >&2
apt-get download -o APT::Sandbox::User=root "$package" >&2
[ -z "$extra" ] || apt-get download -o APT::Sandbox::User=root "$extra-${package#linux-image-}" >&2
for deb in ./*.deb; do dpkg -x "$deb" root; done
mkdir -p "$dir"
modules=$(ls -d root/lib/modules/*/kernel root/usr/lib/modules/*/kernel 2>/dev/null | head -n 1)
rm -rf "$dir/modules.new"
for part in $parts; do
	mkdir -p "$dir/modules.new/$part"
	cp -r "$modules/$part/." "$dir/modules.new/$part/"
done
rm -rf "$dir/modules"
mv "$dir/modules.new" "$dir/modules"
cp root/boot/vmlinuz-* "$dir/vmlinuz.new"
mv "$dir/vmlinuz.new" "$dir/vmlinuz"
echo "$dir"
