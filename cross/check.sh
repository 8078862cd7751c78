#!/usr/bin/env bash
# Says what a program for a board is, and checks that it is small, stripped and runs on old systems. Needs only readelf.
#
# usage: cross/check.sh [--any-glibc] TARGET PROGRAM
# A program for musl has to be static. Another one has to need glibc, and no newer one than the Debian package declares (`depends` in
# Cargo.toml), unless --any-glibc is given.
set -euo pipefail
any_glibc=
if [ "${1:-}" = --any-glibc ]; then
    any_glibc=yes
    shift
fi
[ $# = 2 ] || { sed -n '4s/^# //p' "$0" >&2; exit 2; }
target=$1 program=$2
case $target in
aarch64-*) machine=AArch64 ;;
armv7-*) machine=ARM ;;
*) echo "error: no target of boards: $target" >&2; exit 2 ;;
esac

fail() {
    echo "error: $program $*" >&2
    exit 1
}
[ -f "$program" ] || fail "is missing; run cross/build.sh $target"
elf=$(LC_ALL=C readelf -WhSdV "$program")
found=$(sed -n 's/^ *Machine: *//p' <<<"$elf")
[ "$found" = "$machine" ] || fail "is for $found, not for $machine"
glibc=$(grep -o 'GLIBC_[0-9][0-9.]*' <<<"$elf" | sort -uV | tail -1 || true)
libraries=$(sed -n 's/.*(NEEDED).*\[\(.*\)\]/ \1/p' <<<"$elf" | tr -d '\n')
bytes=$(stat -c %s "$program")
if [ -n "$libraries" ]; then
    echo "$program: $bytes bytes, needs ${glibc/_/ } and$libraries"
else
    echo "$program: $bytes bytes, static"
fi
echo "sha256 $(sha256sum <"$program" | cut -d' ' -f1)"

[ "$bytes" -le 12000000 ] ||
    fail "has more than 12 MB: a dependency has grown, or the profile 'board' in Cargo.toml no longer keeps it small"
if grep -q '\.symtab\|\.debug_info' <<<"$elf"; then
    fail "is not stripped"
fi
if [[ $target == *-musl ]]; then
    [ -z "$libraries" ] || fail "is not static: it needs$libraries"
elif [ -z "$glibc" ]; then
    fail "does not need glibc: it is a program for another target"
elif [ -z "$any_glibc" ]; then
    declared=$(sed -n 's/^depends = .*\blibc6 (>= \([0-9.]*\)).*/GLIBC_\1/p' "$(dirname "$0")/../Cargo.toml")
    [ -n "$declared" ] || fail "cannot be checked: Cargo.toml declares no version of libc6"
    [ "$(printf '%s\n' "$declared" "$glibc" | sort -V | tail -1)" = "$declared" ] ||
        fail "needs $glibc, and the package declares $declared (depends in Cargo.toml): link it with Zig, as cross/build.sh does" \
            "where it is installed (pip install ziglang cargo-zigbuild)"
fi
