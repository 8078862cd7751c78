#!/usr/bin/env bash
# Builds edgeqa for a board without a container engine, prints what came out, and checks that it is small and runs on old systems.
#
# usage: cross/build.sh [TARGET]
# TARGET is aarch64-unknown-linux-gnu (the default), aarch64-unknown-linux-musl (static) or armv7-unknown-linux-gnueabihf.
set -euo pipefail
cd "$(dirname "$0")/.."
TARGET=${1:-aarch64-unknown-linux-gnu}
# shellcheck source=cross/toolchain.sh
. cross/toolchain.sh

cargo_for build --bin edgeqa
needs=$("$BINUTILS-objdump" -T "$PROGRAM" 2>/dev/null | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -1 || true)
libraries=$("$BINUTILS-objdump" -p "$PROGRAM" | awk '$1 == "NEEDED" { printf " %s", $2 }')
bytes=$(stat -c %s "$PROGRAM")
if [ -n "$libraries" ]; then
    echo "$PROGRAM: $bytes bytes, needs ${needs/_/ } and$libraries"
else
    echo "$PROGRAM: $bytes bytes, static"
fi
echo "sha256 $(sha256sum "$PROGRAM" | cut -d' ' -f1)"

fail() {
    echo "error: $PROGRAM $*" >&2
    exit 1
}
[ "$bytes" -le 12000000 ] ||
    fail "has more than 12 MB: a dependency has grown, or the profile 'board' in Cargo.toml no longer keeps it small"
if "$BINUTILS-objdump" -h "$PROGRAM" | grep -q '\.symtab\|\.debug_info'; then
    fail "is not stripped"
fi
case $TARGET in
*-musl) [ -z "$libraries" ] || fail "is not static: it needs$libraries" ;;
*)
    [ -z "$GLIBC" ] || [ "$(printf '%s\n' "GLIBC_$GLIBC" "$needs" | sort -V | tail -1)" = "GLIBC_$GLIBC" ] ||
        fail "needs $needs, which is newer than $GLIBC"
    ;;
esac
