#!/usr/bin/env bash
# Builds the benches that cross/instructions.py counts, for TARGET, and runs it.
#
# usage: cross/instructions.sh [TARGET] [--update]
# TARGET is aarch64-unknown-linux-gnu (the default) or armv7-unknown-linux-gnueabihf. Exit code: that of instructions.py, or 3 if the QEMU
# that is here takes no plugins as those of versions 7 and 8 do.
set -euo pipefail
cd "$(dirname "$0")/.."
TARGET=aarch64-unknown-linux-gnu
case ${1:-} in
[!-]*) TARGET=$1; shift ;;
esac
[ $# = 0 ] || [ "$*" = --update ] || { sed -n '4s/^# //p' "cross/${0##*/}" >&2; exit 2; }
# shellcheck source=cross/toolchain.sh
. cross/toolchain.sh
# Plugins need an emulator that is not static.
emulator=${QEMU%-static}
install "$emulator" qemu-user
# Debian 13's takes none, and from 9 on they are made in another way.
version=$("$emulator" --version | sed -n '1s/.* version \([0-9]*\)\..*/\1/p')
if ! grep -q -- -plugin <<<"$("$emulator" -help)" || [[ $version != [78] ]]; then
    echo "SKIPPED the instructions of Arm: they are counted by QEMU 7 or 8 with plugins, as Debian 12 has it; here is QEMU $version"
    exit 3
fi
install cc gcc libc6-dev
c_library
bench() {
    cargo_for test --no-run --bench "$1" --message-format=json-render-diagnostics | grep -o '"executable":"[^"]*/deps/'"$1-[^\"]*\"" | cut -d'"' -f4
}
layer=$(bench layer)
inference=$(bench inference)
python3 cross/instructions.py --target "$TARGET" --emulator "$emulator ${root[*]}" --layer "$layer" --inference "$inference" "$@"
