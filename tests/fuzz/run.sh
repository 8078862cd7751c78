#!/usr/bin/env bash
# Fuzzes what strangers send to edgeqa, and what owners write for it, with libFuzzer. Needs a C++ compiler, and stable Rust alone.
#
# usage: tests/fuzz/run.sh [SECONDS] [PROPERTY...]
# SECONDS for each property (default 900); properties are http, lines, config, documents, records and datasets (default: all).
# A counter-example ends the run, and stays in target/fuzz/PROPERTY-*; once mended, it belongs in tests/fuzz/corpus/PROPERTY.
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=${1:-900}
shift || true
[ $# -gt 0 ] || set -- http lines config documents records datasets

# What cargo-fuzz passes, without a sanitizer: those need nightly Rust.
flags=(-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares
    -Cllvm-args=-simplifycfg-branch-fold-threshold=0)
host=$(rustc -vV | sed -n 's/^host: //p')
RUSTFLAGS="${flags[*]}" cargo build --release --locked --manifest-path tests/fuzz/Cargo.toml --target "$host" --target-dir target/fuzz

# Documents are written to files; in memory where that is possible.
[ -w /dev/shm ] && export TMPDIR=/dev/shm
for property in "$@"; do
    found=target/fuzz/corpus/$property
    mkdir -p "$found"
    echo "== $property, $seconds s"
    EDGEQA_FUZZ=$property "target/fuzz/$host/release/edgeqa-fuzz" "$found" "tests/fuzz/corpus/$property" \
        -max_total_time="$seconds" -max_len=8192 -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="target/fuzz/$property-"
done
