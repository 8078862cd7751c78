#!/usr/bin/env bash
# Builds edgeqa for a board without a container engine, and has cross/check.sh say what came out and check it.
#
# usage: cross/build.sh [TARGET]
# TARGET is aarch64-unknown-linux-gnu (the default), aarch64-unknown-linux-musl (static) or armv7-unknown-linux-gnueabihf.
set -euo pipefail
cd "$(dirname "$0")/.."
TARGET=${1:-aarch64-unknown-linux-gnu}
# shellcheck source=cross/toolchain.sh
. cross/toolchain.sh

cargo_for build --bin edgeqa
options=()
[ -n "$GLIBC" ] || options=(--any-glibc)
cross/check.sh "${options[@]}" "$TARGET" "$PROGRAM"
