# shellcheck shell=bash disable=SC2034
# Tool chain for one target, to be sourced with TARGET set, from the root of the repository. What is missing is installed with apt and
# pip where that is possible. Gives
#   cargo_for build|test ARGUMENTS...   cargo for the target, with the profile of boards
#   PROGRAM                             the program that `cargo_for build --bin edgeqa` makes
#   QEMU, root                          the emulator, and its options that say where the C library of the target is
#   c_library                           puts that library there
#   GLIBC                               the newest glibc that a program may need; empty for musl, and if that cannot be had
#
# The linker is Zig's, which links against an old glibc and brings a static musl; without it, it is Debian's gcc, whose programs need the
# glibc of this machine, which is an error if $CI is set. The standard library is rustup's, which is fetched
# if it is missing; without rustup, that of Debian's rustc, else one that is built from Debian's sources. Output goes to a directory of its
# own for each compiler, as one cannot read the other's libraries.

# apt_install PACKAGES...; apt needs root.
apt_install() {
    echo "installing $*" >&2
    local get=(apt-get -o DPkg::Lock::Timeout=600) said
    said=$({ "${get[@]}" install -y --no-install-recommends "$@" ||
        { "${get[@]}" update && "${get[@]}" install -y --no-install-recommends "$@"; }; } 2>&1) || {
        tail -5 <<<"$said" >&2
        echo "error: apt-get install $* failed" >&2
        return 1
    }
}

# install PROGRAM PACKAGES...: installs the packages unless the program is there.
install() {
    local program=$1
    shift
    command -v "$program" >/dev/null || apt_install "$@"
}

# foreign_packages ARCHITECTURE PACKAGES...: installs packages of another architecture beside those of this machine.
foreign_packages() {
    { dpkg --add-architecture "$1" && apt-get update; } >/dev/null 2>&1 || true
    apt_install "${@:2}"
}

# With qemu's -L, starting a thread hangs on 64-bit Arm, so there the library is where its package puts it.
c_library() {
    case $TARGET in
    aarch64-unknown-linux-gnu) [ -e /lib/ld-linux-aarch64.so.1 ] || foreign_packages arm64 libc6:arm64 libgcc-s1:arm64 ;;
    armv7-*) [ -e /usr/arm-linux-gnueabihf/lib/ld-linux-armhf.so.3 ] || apt_install libc6-armhf-cross libgcc-s1-armhf-cross ;;
    esac
}

# What the package declares in Cargo.toml, which cross/check.sh compares.
GLIBC=2.31
root=()
case $TARGET in
aarch64-unknown-linux-gnu | aarch64-unknown-linux-musl)
    gnu=aarch64-linux-gnu architecture=arm64 QEMU=qemu-aarch64-static
    ;;
armv7-unknown-linux-gnueabihf)
    gnu=arm-linux-gnueabihf architecture=armhf QEMU=qemu-arm-static root=(-L /usr/arm-linux-gnueabihf)
    ;;
*)
    echo "error: no tool chain for '$TARGET'; there is one for aarch64-unknown-linux-gnu, aarch64-unknown-linux-musl and" \
        "armv7-unknown-linux-gnueabihf" >&2
    return 2
    ;;
esac
variable=${TARGET^^}
variable=${variable//-/_}

# Zig comes as a Python package, and so does the program that makes cargo use it.
zig=target/zig
if ! PATH=$PWD/$zig/bin:$PATH command -v cargo-zigbuild >/dev/null; then
    echo "installing Zig" >&2
    { python3 -m venv $zig >/dev/null 2>&1 || { apt_install python3-venv && python3 -m venv $zig >&2; }; } &&
        $zig/bin/pip install --quiet ziglang==0.17.1 cargo-zigbuild==0.24.0 >&2 || true
fi
PATH=$PWD/$zig/bin:$PATH
zig_target=$TARGET
case $TARGET in
*-musl) GLIBC= ;;
*) zig_target=$TARGET.$GLIBC ;;
esac
if ! command -v cargo-zigbuild >/dev/null; then
    if [ -z "$GLIBC" ]; then
        echo "error: $TARGET needs Zig: pip install ziglang cargo-zigbuild" >&2
        return 1
    elif [ -n "${CI:-}" ]; then
        echo "error: there is no Zig, without which nothing links against glibc $GLIBC: pip install ziglang cargo-zigbuild" >&2
        return 1
    fi
    echo "SKIPPED the link against glibc $GLIBC: there is no Zig, and it could not be installed" >&2
    GLIBC='' zig_target=''
    install $gnu-gcc gcc-$gnu libc6-dev-$architecture-cross
    export "CARGO_TARGET_${variable}_LINKER=$gnu-gcc" "CC_${TARGET//-/_}=$gnu-gcc" "AR_${TARGET//-/_}=$gnu-ar"
fi

# has_std RUSTC: whether the compiler has a standard library for the target.
has_std() {
    [ -x "$(command -v "$1")" ] && [ -d "$("$1" --print target-libdir --target "$TARGET" 2>/dev/null)" ]
}

TARGET_DIR=target
std=()
if ! has_std rustc && command -v rustup >/dev/null; then
    rustup target add "$TARGET" >&2 || true
fi
if ! has_std rustc; then
    TARGET_DIR=target/debian
    if [ "$TARGET" = aarch64-unknown-linux-gnu ]; then
        has_std /usr/bin/rustc || foreign_packages arm64 rustc-web libstd-rust-web-dev libstd-rust-web-dev:arm64 || {
            echo "error: there is no standard library for $TARGET: run 'rustup target add $TARGET'" >&2
            return 1
        }
    else
        [ -d /usr/src/rustc-"$(/usr/bin/rustc --version 2>/dev/null | cut -d' ' -f2)"/library ] ||
            apt_install rustc-web libstd-rust-web-dev rust-web-src || {
            echo "error: there is no standard library for $TARGET: run 'rustup target add $TARGET'" >&2
            return 1
        }
        # A stable compiler builds it only if it is told that it may.
        export RUSTC_BOOTSTRAP=1
        std=('-Zbuild-std=std,panic_abort')
        # C's start files are Zig's, as there are none beside the standard library.
        if [ "$TARGET" = aarch64-unknown-linux-musl ]; then
            export "CARGO_TARGET_${variable}_RUSTFLAGS=-C link-self-contained=no -C target-feature=+crt-static"
        fi
    fi
    export RUSTC=/usr/bin/rustc
fi
PROGRAM=$TARGET_DIR/$TARGET/board/edgeqa

cargo_for() {
    local subcommand=$1
    shift
    set -- --profile board --locked "${std[@]}" --target-dir "$TARGET_DIR" "$@"
    if [ -n "$zig_target" ]; then
        cargo-zigbuild "${subcommand/#build/zigbuild}" --target "$zig_target" "$@"
    else
        cargo "$subcommand" --target "$TARGET" "$@"
    fi
}
