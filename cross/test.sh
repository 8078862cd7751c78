#!/usr/bin/env bash
# Tests the Arm build under emulated CPUs. Every CPU has to choose the kernel named here, and that kernel has to pass all tests: one that
# is missing is a failure, not a skip. Then the shipped model has to give its answer.
#
# usage: cross/test.sh [CPU...]           (default: all of the matrix)
# EDGEQA_KERNEL is handed on, so that a wrong choice can be forced: the run has to fail then.
set -euo pipefail
cd "$(dirname "$0")/.."
TARGET=aarch64-unknown-linux-gnu
# shellcheck source=cross/toolchain.sh
. cross/toolchain.sh
install qemu-aarch64-static qemu-user-static
# Programs find the libraries of their architecture where the package puts them; with qemu's -L, starting a thread hangs.
if [ ! -e /lib/ld-linux-aarch64.so.1 ]; then
    { dpkg --add-architecture arm64 && apt-get update && apt-get install -y --no-install-recommends libc6:arm64 libgcc-s1:arm64; } \
        >/dev/null 2>&1 || { echo "error: libc6:arm64 is missing and cannot be installed" >&2; exit 1; }
fi

matrix() {
    cat <<'EOF'
cortex-a53 gemm_i8_12x64k4_neon
cortex-a72 gemm_i8_12x64k4_neon
cortex-a76 gemm_i8_12x64k4_neon_dotprod
max gemm_i8_12x64k4_neon_i8mm
EOF
}

cargo build --release --locked --bin edgeqa --target "$TARGET" --target-dir "$TARGET_DIR"
tests=$(cargo test --release --locked --lib --no-run --target "$TARGET" --target-dir "$TARGET_DIR" --message-format=json |
    grep -o '"executable":"[^"]*"' | tail -1 | cut -d'"' -f4)
program=$TARGET_DIR/$TARGET/release/edgeqa
log=$(mktemp)
trap 'rm -f "$log"' EXIT

rows=0
while read -r cpu kernel; do
    if [ $# -gt 0 ] && [[ " $* " != *" $cpu "* ]]; then
        continue
    fi
    rows=$((rows + 1))
    run() { EDGEQA_REQUIRE_KERNEL=$kernel RUST_LOG=edgeqa=info qemu-aarch64-static -cpu "$cpu" "$@"; }
    echo "-- $cpu: $kernel"
    run "$tests" kernels:: 2>&1 | tee "$log" | grep -E 'SKIPPED|FAILED|panicked|test result' || true
    grep -Eq 'test result: ok\. [1-9][0-9]* passed' "$log" || { cat "$log"; echo "error: the kernels fail on $cpu" >&2; exit 1; }
    # Names of kernels begin with those of others.
    if grep -Eq "SKIPPED.*\b$kernel\b|SKIPPED the_required_kernel" "$log"; then
        echo "error: $kernel was skipped on $cpu" >&2
        exit 1
    fi
    run "$program" ask "Who kept the light?" --context "Jonas Ekdahl kept the light until 1968, when it was automated." \
        --model models/demo/model.safetensors --threads 2 --json >"$log.json" 2>"$log" </dev/null || { cat "$log"; exit 1; }
    grep "int8 kernel: $kernel\$" "$log" || { cat "$log"; echo "error: $cpu did not choose $kernel" >&2; exit 1; }
    grep -q '"Jonas Ekdahl"' "$log.json" || { cat "$log.json"; echo "error: another answer on $cpu" >&2; exit 1; }
    echo "answer: Jonas Ekdahl"
    rm -f "$log.json"
done < <(matrix)
[ "$rows" -gt 0 ] || { echo "error: no CPU of the matrix: $*" >&2; exit 2; }
echo "$rows emulated CPUs passed"
