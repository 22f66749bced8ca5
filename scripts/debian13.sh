#!/usr/bin/env bash
# Runs a command in the project's folder under Debian 13, whose GStreamer is 1.26:
#
#     scripts/debian13.sh make test
#
# The system is made in target/debian13/root the first time (some minutes, 2 GB, from MIRROR) and used again afterwards; what is built
# under it goes to target/debian13/build. It sees this machine's Rust toolchain. Mounts and processes live in namespaces of their
# own, which end with this script, however it ends.
set -euo pipefail
cd "$(dirname "$0")/.."

suite=trixie
mirror=${MIRROR:-http://deb.debian.org/debian}
project=$PWD
place=$project/target/debian13
root=$place/root

fail() {
    echo "debian13: $*" >&2
    exit 1
}

# Makes the system; what is half made when it fails is not taken for it.
make_root() {
    if ! command -v debootstrap >/dev/null; then
        command -v apt-get >/dev/null || fail "debootstrap is missing; install it by hand"
        echo "debian13: installing debootstrap"
        { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends debootstrap; } ||
            fail "debootstrap is missing and apt-get cannot install it"
    fi
    echo "debian13: making a Debian 13 in $root"
    rm -rf "$root.new"
    mkdir -p "$root.new"
    debootstrap --variant=minbase --include=ca-certificates,make "$suite" "$root.new" "$mirror" >"$place/debootstrap.log" 2>&1 || {
        tail -n 5 "$place/debootstrap.log" >&2
        fail "debootstrap failed (all of it: $place/debootstrap.log); does $mirror answer? MIRROR=URL names another one"
    }
    # Packages start no services in it, bring no manuals, do not wait for the disk, and are not kept.
    printf '#!/bin/sh\nexit 101\n' >"$root.new/usr/sbin/policy-rc.d"
    chmod 755 "$root.new/usr/sbin/policy-rc.d"
    printf '%s\n' force-unsafe-io path-exclude=/usr/share/{doc,man,locale,help}/'*' >"$root.new/etc/dpkg/dpkg.cfg.d/quick"
    echo 'APT::Keep-Downloaded-Packages "false";' >"$root.new/etc/apt/apt.conf.d/quick"
    rm -f "$root.new"/var/cache/apt/archives/*.deb
    mv "$root.new" "$root"
}

# bind FROM TO: shows the folder FROM as TO in the system.
bind() {
    mkdir -p "$root$2"
    mount --rbind "$1" "$root$2"
}

if [ "${1:-}" != --inside ]; then
    [ $# -gt 0 ] || fail "name the command to run, such as: scripts/debian13.sh make test"
    [ "$(id -u)" -eq 0 ] || fail "run as root, which chroot and mount need"
    command -v unshare >/dev/null || fail "unshare is missing: install util-linux"
    unshare --mount --pid --fork true 2>/dev/null ||
        fail "this machine allows no namespaces; a container needs the capability SYS_ADMIN, or run \`$*\` in an image of Debian 13"
    exec unshare --mount --pid --fork --kill-child --propagation private "$0" --inside "$@"
fi
shift
trap 'exit 130' INT TERM HUP

[ -d "$root" ] || make_root
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/tmp"
bind /dev /dev
bind /sys /sys
bind "$project" "$project"
[ ! -d "${CARGO_HOME:-$HOME/.cargo}" ] || bind "${CARGO_HOME:-$HOME/.cargo}" /root/.cargo
[ ! -d "${RUSTUP_HOME:-$HOME/.rustup}" ] || bind "${RUSTUP_HOME:-$HOME/.rustup}" /root/.rustup
for file in /etc/{resolv.conf,hosts,ssl/certs/ca-certificates.crt}; do
    [ ! -e "$file" ] || cp -L "$file" "$root$file"
done

# Dependencies that were compiled on this machine serve there too: cargo sees which do.
build=$place/build
if [ ! -d "$build/release" ] && [ -d target/release/.fingerprint ]; then
    rm -rf "$build/release.new"
    mkdir -p "$build/release.new"
    cp -a --reflink=auto -t "$build/release.new" target/release/{.fingerprint,build,deps}
    mv "$build/release.new" "$build/release"
fi

environment=(HOME=/root PATH=/root/.cargo/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin LANG=C.UTF-8 CARGO_TARGET_DIR="$build")
for name in TERM http_proxy https_proxy no_proxy CARGO_BUILD_JOBS RUST_BACKTRACE RUST_TEST_THREADS; do
    [ -z "${!name:-}" ] || environment+=("$name=${!name}")
done
# shellcheck disable=SC2016 # the inner shell expands it
chroot "$root" /usr/bin/env -i "${environment[@]}" /bin/bash -c 'cd "$1" && shift && exec "$@"' - "$project" "$@"
