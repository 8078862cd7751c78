#!/usr/bin/env bash
# Tests the Arm build under emulated CPUs. Every CPU has to choose the kernel named here, and that kernel has to pass all tests: one that
# is missing is a failure, not a skip. Then the shipped model has to answer as it does on this machine.
#
# usage: cross/test.sh [--squad FILE [--limit N]] [CPU...]
#
# CPU is one of the matrix below, and says what is built: cortex-a57 is for the static program, cortex-a7 for 32 bits; the others, which
# are the default, for glibc. Questions are those of FILE, or N of them, drawn with what else their paragraphs have; without FILE they
# are five of the first paragraph of models/demo/squad.json.
# EDGEQA_KERNEL is handed on, so that a wrong choice can be forced: the run has to fail then.
set -euo pipefail

matrix() {
    cat <<'MATRIX'
aarch64-unknown-linux-gnu cortex-a53 gemm_i8_64x16k4_neon
aarch64-unknown-linux-gnu cortex-a72 gemm_i8_64x16k4_neon
aarch64-unknown-linux-gnu cortex-a76 gemm_i8_12x64k4_neon_dotprod
aarch64-unknown-linux-gnu max gemm_i8_12x128k4_neon_i8mm
aarch64-unknown-linux-musl cortex-a57 gemm_i8_64x16k4_neon
armv7-unknown-linux-gnueabihf cortex-a7 gemm_i8_12x64k4_neon32
MATRIX
}

squad='' options=()
usage() {
    sed -n '5s/^# //p' "$0" >&2
    exit 2
}
while [[ ${1:-} == --* ]]; do
    [ $# -ge 2 ] || usage
    case $1 in
    --squad) squad=$(realpath -ms -- "$2") ;;
    --limit) options=(--limit "$2" --seed 1) ;;
    *) usage ;;
    esac
    shift 2
done
if [ -z "$squad" ] && [ ${#options[@]} -gt 0 ]; then
    echo "error: --limit draws from the questions of --squad FILE" >&2
    exit 2
fi
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- cortex-a53 cortex-a72 cortex-a76 max
TARGET=
for cpu; do
    target=$(matrix | awk -v cpu="$cpu" '$2 == cpu { print $1 }')
    [ -n "$target" ] || { echo "error: no CPU of the matrix: $cpu" >&2; exit 2; }
    [ "${TARGET:-$target}" = "$target" ] || { echo "error: $* are not of one target; test them one after the other" >&2; exit 2; }
    TARGET=$target
done

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "$squad" ]; then
    squad=$folder/squad.json
    python3 - models/demo/squad.json "$squad" <<'PYTHON'
import json, sys
with open(sys.argv[1], encoding="utf-8") as file:
    data = json.load(file)
article = data["data"][0]
paragraph = article["paragraphs"][0]
# With and without an answer.
questions = paragraph["qas"][::3]
assert {bool(question["answers"]) for question in questions} == {True, False}
data["data"] = [dict(article, paragraphs=[dict(paragraph, qas=questions)])]
with open(sys.argv[2], "w", encoding="utf-8") as file:
    json.dump(data, file)
PYTHON
fi
evaluate=(eval --squad "$squad" "${options[@]}" --model models/demo/model.safetensors --out)

# What this machine answers, with the program that the tests of this machine have built. Vectors of 64-bit Arm round a multiply-add once,
# as those of x86-64 do; those of 32-bit Arm round twice, as the portable ones do here.
export CARGO_TARGET_DIR=$PWD/target
cargo test --workspace --locked --no-run --quiet
here=
[ "$TARGET" != armv7-unknown-linux-gnueabihf ] || here=gemm_i8_4x16k4_portable
EDGEQA_KERNEL=$here target/debug/edgeqa "${evaluate[@]}" "$folder/here" >/dev/null

# shellcheck source=cross/toolchain.sh
. cross/toolchain.sh
install "$QEMU" qemu-user-static
c_library

cargo_for build --bin edgeqa
tests=$(cargo_for test --lib --no-run --message-format=json-render-diagnostics | grep -o '"executable":"[^"]*/deps/edgeqa-[^"]*"' | tail -1 | cut -d'"' -f4)

# One CPU of the matrix.
row() {
    local cpu=$1 kernel=$2 out=$folder/$1
    run() { EDGEQA_REQUIRE_KERNEL=$kernel RUST_LOG=edgeqa=info "$QEMU" "${root[@]}" -cpu "$cpu" "$@"; }
    echo "-- $cpu: $kernel"
    if ! run "$tests" the_required_kernel_is_the_chosen_one >"$out.tests" 2>&1 || ! grep -q 'test result: ok. 1 passed' "$out.tests"; then
        cat "$out.tests"
        echo "error: $cpu does not choose $kernel"
        return 1
    fi
    run "$tests" kernels:: ops:: threads:: >"$out.tests" 2>&1 || true
    grep -E 'SKIPPED|FAILED|panicked|test result' "$out.tests" || true
    if ! grep -Eq 'test result: ok\. [1-9][0-9]* passed' "$out.tests"; then
        cat "$out.tests"
        echo "error: the kernels fail on $cpu"
        return 1
    fi
    # Names of kernels begin with those of others.
    if grep -Eq "SKIPPED.*\b$kernel\b|SKIPPED the_required_kernel" "$out.tests"; then
        echo "error: $kernel was skipped on $cpu"
        return 1
    fi
    if ! run "$PROGRAM" "${evaluate[@]}" "$out" --threads 1 >"$out.log" 2>&1 </dev/null; then
        cat "$out.log"
        echo "error: edgeqa eval fails on $cpu"
        return 1
    fi
    grep "int8 kernel: $kernel\$" "$out.log" || { cat "$out.log"; echo "error: $cpu did not choose $kernel"; return 1; }
    python3 cross/compare.py "$folder/here" "$out"
}

# As many rows at a time as there are CPUs; each prints when all are done.
rows=0 failed=0
while read -r target cpu kernel; do
    [ "$target" = "$TARGET" ] && [[ " $* " == *" $cpu "* ]] || continue
    while [ "$(jobs -rp | wc -l)" -ge "$(nproc)" ]; do wait -n || true; done
    { row "$cpu" "$kernel" && touch "$folder/$cpu.passed"; } >"$folder/$cpu.out" 2>&1 &
    rows=$((rows + 1))
done < <(matrix)
wait
for cpu; do
    cat "$folder/$cpu.out"
    [ -e "$folder/$cpu.passed" ] || failed=$((failed + 1))
done
[ "$failed" = 0 ] || { echo "error: $failed of $rows emulated CPUs failed" >&2; exit 1; }
echo "$rows emulated CPUs passed"
