# Tool chain for one target, to be sourced with TARGET set, from the root of the repository. What is missing is installed with apt and
# pip where that is possible. Gives
#   cargo_for build|test ARGUMENTS...   cargo for the target, with the profile of boards
#   PROGRAM                             the program that `cargo_for build --bin edgeqa` makes
#   BINUTILS                            prefix of strip and objdump
#   QEMU                                the emulator
#   GLIBC                               the newest glibc that a program may need, empty for musl
#
# The linker is Zig's, which links against an old glibc and brings a static musl; without it, it is Debian's gcc, whose programs need the
# glibc of this machine. The standard library is that of rustup (rustup target add TARGET) where it is installed, else that of Debian's
# rustc, else one that is built from Debian's sources. Output goes to a directory of its own for each compiler, as one cannot read the
# other's libraries.

# apt_install PACKAGES...
apt_install() {
    echo "installing $*" >&2
    local get=(apt-get -o DPkg::Lock::Timeout=600)
    ("${get[@]}" install -y --no-install-recommends "$@" ||
        { "${get[@]}" update && "${get[@]}" install -y --no-install-recommends "$@"; }) >/dev/null 2>&1 ||
        { echo "error: apt-get install $* failed" >&2; return 1; }
}

# install PROGRAM PACKAGES...: installs the packages unless the program is there.
install() {
    local program=$1
    shift
    command -v "$program" >/dev/null || apt_install "$@"
}

# arm64_packages PACKAGES...: installs packages of arm64 beside those of this machine.
arm64_packages() {
    { dpkg --add-architecture arm64 && apt-get update; } >/dev/null 2>&1 || true
    apt_install "$@"
}

GLIBC=2.31
case $TARGET in
aarch64-unknown-linux-gnu | aarch64-unknown-linux-musl)
    BINUTILS=aarch64-linux-gnu QEMU=qemu-aarch64-static
    install $BINUTILS-gcc gcc-aarch64-linux-gnu libc6-dev-arm64-cross
    ;;
armv7-unknown-linux-gnueabihf)
    BINUTILS=arm-linux-gnueabihf QEMU=qemu-arm-static
    install $BINUTILS-gcc gcc-arm-linux-gnueabihf libc6-dev-armhf-cross
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
    { python3 -m venv $zig || { apt_install python3-venv && python3 -m venv $zig; }; } >/dev/null 2>&1 &&
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
    fi
    echo "SKIPPED the link against glibc $GLIBC: there is no Zig, and it could not be installed" >&2
    GLIBC= zig_target=
    export "CARGO_TARGET_${variable}_LINKER=$BINUTILS-gcc" "CC_${TARGET//-/_}=$BINUTILS-gcc" "AR_${TARGET//-/_}=$BINUTILS-ar"
fi

# has_std RUSTC: whether the compiler has a standard library for the target.
has_std() {
    [ -x "$(command -v "$1")" ] && [ -d "$("$1" --print target-libdir --target "$TARGET" 2>/dev/null)" ]
}

TARGET_DIR=target
std=()
if ! has_std rustc; then
    TARGET_DIR=target/debian
    if [ "$TARGET" = aarch64-unknown-linux-gnu ]; then
        has_std /usr/bin/rustc || arm64_packages rustc-web libstd-rust-web-dev libstd-rust-web-dev:arm64 || {
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
        std=(-Zbuild-std=std,panic_abort)
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
