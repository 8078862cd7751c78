#!/usr/bin/env bash
# Builds edgeqa for a board without a container engine, and prints what came out.
#
# usage: cross/build.sh [TARGET]          (default: aarch64-unknown-linux-gnu)
set -euo pipefail
cd "$(dirname "$0")/.."
TARGET=${1:-aarch64-unknown-linux-gnu}
# shellcheck source=cross/toolchain.sh
. cross/toolchain.sh

cargo build --release --locked --bin edgeqa --target "$TARGET" --target-dir "$TARGET_DIR"
program=$TARGET_DIR/$TARGET/release/edgeqa
stripped=$program.stripped
"$gcc-strip" -o "$stripped" "$program"
glibc=$("$gcc-objdump" -T "$stripped" | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -1)
echo "$stripped: $(stat -c %s "$stripped") bytes, needs ${glibc:-no glibc}"
