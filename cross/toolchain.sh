# Tool chain for one Arm target, to be sourced with TARGET set: what is missing is installed with apt where that is possible, and the
# variables that cargo needs are exported.
#
# A compiler whose standard library for the target is installed (rustup target add TARGET) is used as it is. Otherwise it is Debian's
# rustc, which brings one; its output goes to a directory of its own, as the two compilers cannot read each other's libraries.

# install PROGRAM PACKAGES...: installs the packages unless the program is there.
install() {
    local program=$1
    shift
    if ! command -v "$program" >/dev/null; then
        echo "installing $*" >&2
        (apt-get install -y --no-install-recommends "$@" ||
            { apt-get update && apt-get install -y --no-install-recommends "$@"; }) >/dev/null 2>&1 ||
            { echo "error: $program is missing, and apt-get install $* failed" >&2; return 1; }
    fi
}

case $TARGET in
aarch64-unknown-linux-gnu)
    gcc=aarch64-linux-gnu
    install "$gcc-gcc" gcc-aarch64-linux-gnu libc6-dev-arm64-cross
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=$gcc-gcc
    export CC_aarch64_unknown_linux_gnu=$gcc-gcc AR_aarch64_unknown_linux_gnu=$gcc-ar
    ;;
*)
    echo "error: no tool chain for '$TARGET'; there is one for aarch64-unknown-linux-gnu" >&2
    return 2
    ;;
esac

TARGET_DIR=target
if [ ! -d "$(rustc --print target-libdir --target "$TARGET" 2>/dev/null)" ]; then
    if [ ! -d "$([ -x /usr/bin/rustc ] && /usr/bin/rustc --print target-libdir --target "$TARGET" 2>/dev/null)" ]; then
        echo "installing Debian's rustc and its standard library for $TARGET" >&2
        {
            dpkg --add-architecture arm64 && apt-get update &&
                apt-get install -y --no-install-recommends rustc-web libstd-rust-web-dev libstd-rust-web-dev:arm64
        } >/dev/null 2>&1 || {
            echo "error: there is no standard library for $TARGET: run 'rustup target add $TARGET'" >&2
            return 1
        }
    fi
    export RUSTC=/usr/bin/rustc
    TARGET_DIR=target/debian
fi
