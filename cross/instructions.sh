#!/usr/bin/env bash
# Builds the benches that cross/instructions.py counts, for TARGET, and runs it.
#
# usage: cross/instructions.sh [TARGET] [--update]
# TARGET is aarch64-unknown-linux-gnu (the default) or armv7-unknown-linux-gnueabihf.
set -euo pipefail
cd "$(dirname "$0")/.."
TARGET=aarch64-unknown-linux-gnu
case ${1:-} in
[!-]*) TARGET=$1; shift ;;
esac
# shellcheck source=cross/toolchain.sh
. cross/toolchain.sh
# Plugins need an emulator that is not static.
emulator=${QEMU%-static}
install "$emulator" qemu-user
install cc gcc libc6-dev
c_library
bench() {
    cargo_for test --no-run --bench "$1" --message-format=json | grep -o '"executable":"[^"]*/deps/'"$1-[^\"]*\"" | cut -d'"' -f4
}
layer=$(bench layer)
inference=$(bench inference)
python3 cross/instructions.py --target "$TARGET" --emulator "$emulator ${root[*]}" --layer "$layer" --inference "$inference" "$@"
