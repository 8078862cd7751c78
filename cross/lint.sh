#!/usr/bin/env bash
# Lints the code for a board, of which what is for its processor alone is not seen by lints for this machine.
#
# usage: cross/lint.sh [TARGET]
# TARGET is as for cross/build.sh. Exit code: 3 if clippy has no standard library for it.
set -euo pipefail
cd "$(dirname "$0")/.."
TARGET=${1:-aarch64-unknown-linux-gnu}
# shellcheck source=cross/toolchain.sh
. cross/toolchain.sh

if [ -n "${RUSTC:-}" ]; then
    echo "SKIPPED the lints of the code for $TARGET: rustup has no standard library for it here"
    exit 3
fi
cargo_for clippy --lib --bin edgeqa --tests --benches -- -D warnings
