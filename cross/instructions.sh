#!/usr/bin/env bash
# Builds the benches that cross/instructions.py counts, for aarch64, and runs it.
#
# usage: cross/instructions.sh [--update]
set -euo pipefail
cd "$(dirname "$0")/.."
TARGET=aarch64-unknown-linux-gnu
# shellcheck source=cross/toolchain.sh
. cross/toolchain.sh
install qemu-aarch64 qemu-user
install cc gcc libc6-dev
c_library
bench() {
    cargo_for test --no-run --bench "$1" --message-format=json | grep -o '"executable":"[^"]*/deps/'"$1-[^\"]*\"" | cut -d'"' -f4
}
layer=$(bench layer)
inference=$(bench inference)
python3 cross/instructions.py --layer "$layer" --inference "$inference" "$@"
