#!/usr/bin/env bash
# Installs what building and running need and the machine lacks, with --tests also what the tests need. Does nothing the second time.
#
# Debian 12 or later: GStreamer 1.22 or later with its development files, and Rust 1.92 or later (by rustup).
set -euo pipefail
cd "$(dirname "$0")/.."

rust_needed=1.92

packages=(
    build-essential pkg-config curl ca-certificates jq
    libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev libgstreamer-plugins-bad1.0-dev libgstrtspserver-1.0-dev
    libcairo2-dev libpango1.0-dev fonts-dejavu-core python3-gi gir1.2-gstreamer-1.0
    gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good
    gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly gstreamer1.0-libav
    mosquitto mosquitto-clients
)
# Installs those of the packages named that are missing.
install() {
    local package missing=() as_root=()
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    if ! command -v apt-get >/dev/null; then
        echo "setup: this system has no apt-get; install by hand what matches: ${missing[*]}" >&2
        exit 1
    fi
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || { echo "setup: run as root, or install: ${missing[*]}" >&2; exit 1; }
        as_root=(sudo)
    fi
    echo "setup: installing ${missing[*]}"
    "${as_root[@]}" apt-get update -q
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
}

install "${packages[@]}"
# Networks for the import's tests come from PyTorch, which from version 2 on exports by ONNX's own package.
[ "${1:-}" != --tests ] || install python3-torch python3-onnx
# With the analytics metas come applications that read them, which the tests run.
[ -z "$(scripts/features.sh)" ] || install python3-gst-1.0 gir1.2-gst-plugins-base-1.0 gir1.2-gst-plugins-bad-1.0

export PATH="$HOME/.cargo/bin:$PATH"
rust_found=$(rustc --version 2>/dev/null | awk '{print $2}' || true)
if [ "$(printf '%s\n' "$rust_needed" "${rust_found:-0}" | sort -V | head -n 1)" != "$rust_needed" ]; then
    if command -v rustup >/dev/null; then
        echo "setup: Rust ${rust_found:-none} is older than $rust_needed; updating by rustup"
        rustup toolchain install stable --profile minimal --component clippy,rustfmt
        rustup default stable
    else
        echo "setup: installing Rust by rustup"
        curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal --component clippy,rustfmt
    fi
elif command -v rustup >/dev/null; then
    # Only `make lint` needs these, so that nothing else waits for them.
    components=()
    cargo clippy --version >/dev/null 2>&1 || components+=(clippy)
    cargo fmt --version >/dev/null 2>&1 || components+=(rustfmt)
    if [ ${#components[@]} -gt 0 ]; then
        echo "setup: adding ${components[*]} by rustup"
        rustup component add "${components[@]}" || echo "setup: without ${components[*]} \`make lint\` cannot run" >&2
    fi
fi
