#!/usr/bin/env bash
# Copies edgeqa to a board, checks the copies, asks `edgeqa doctor` there, measures with `edgeqa eval` and `edgeqa bench`, and brings the
# results back to benches/record/BOARD/. What ends with -bench.json can be given to `edgeqa bench --compare`.
#
# usage: cross/deploy.sh [--target TARGET] [--model FILE] [--dir DIR] [--bench OPTIONS] USER@BOARD
#   --target   what cross/build.sh has built [default: aarch64-unknown-linux-gnu]
#   --model    model file [default: models/demo/model.safetensors]
#   --dir      folder on the board, made if missing [default: edgeqa, in the user's home]
#   --bench    options of edgeqa bench, such as "--lengths 128,384 --threads 1,4" [default: its own]
# Example: cross/deploy.sh pi@raspberrypi.local
#
# EDGEQA_PROGRAM names another program to copy, EDGEQA_RECORDS another folder for the record.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
    sed -n '5,10s/^# //p' cross/deploy.sh >&2
    exit 2
}
target=aarch64-unknown-linux-gnu model=models/demo/model.safetensors dir=edgeqa bench= board=
while [ $# -gt 0 ]; do
    case $1 in
    --target) target=${2:-} ;;
    --model) model=${2:-} ;;
    --dir) dir=${2:-} ;;
    --bench) bench=${2:-} ;;
    -*) usage ;;
    *)
        [ -z "$board" ] || usage
        board=$1
        shift
        continue
        ;;
    esac
    [ $# -ge 2 ] || usage
    shift 2
done
[ -n "$board" ] || usage
# What is written into commands for the board.
[[ $dir =~ ^[A-Za-z0-9_./-]+$ && $dir != -* ]] || { echo "error: --dir $dir: only letters, digits and _ . / - are understood" >&2; exit 2; }
[[ $bench =~ ^[A-Za-z0-9_.,\ -]*$ ]] || { echo "error: --bench $bench: only options with numbers and sizes are understood" >&2; exit 2; }

program=${EDGEQA_PROGRAM:-}
for folder in target target/debian; do
    [ -n "$program" ] || [ ! -f "$folder/$target/board/edgeqa" ] || program=$folder/$target/board/edgeqa
done
[ -f "$program" ] || { echo "error: there is no program for $target; run cross/build.sh $target" >&2; exit 1; }
[ -f "$model" ] || { echo "error: $model is no file" >&2; exit 1; }

results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT
echo "copying to $board:$dir"
ssh "$board" "mkdir -p $dir"
# Beside what is there, which a running program may have mapped; renamed once the checksums are right.
scp -q "$program" "$board:$dir/edgeqa.new"
scp -q "$model" "$board:$dir/model.safetensors.new"
scp -q models/demo/squad.json "$board:$dir/squad.json.new"
{
    echo "$(sha256sum <"$program" | cut -d' ' -f1)  edgeqa.new"
    echo "$(sha256sum <"$model" | cut -d' ' -f1)  model.safetensors.new"
    echo "$(sha256sum <models/demo/squad.json | cut -d' ' -f1)  squad.json.new"
} >"$results/sums"
ssh "$board" "cd $dir && sha256sum -c -" <"$results/sums" || {
    echo "error: a copy differs; what was on the board is as it was. Is the disk full?" >&2
    exit 1
}
ssh "$board" "cd $dir && chmod 755 edgeqa.new && for file in edgeqa model.safetensors squad.json; do mv \$file.new \$file; done"

echo "asking edgeqa doctor"
ssh "$board" "cd $dir && ./edgeqa doctor --model model.safetensors --json" >"$results/doctor.json" </dev/null
echo "answering the questions of squad.json"
ssh "$board" "cd $dir && ./edgeqa eval --squad squad.json --model model.safetensors --json" >"$results/eval.json" </dev/null
echo "measuring with edgeqa bench"
ssh "$board" "cd $dir && ./edgeqa bench --model model.safetensors --json $bench" >"$results/bench.json" </dev/null
ssh "$board" "cat /proc/device-tree/model 2>/dev/null | tr '\\0' '\\n' | grep . || uname -m; uname -srm; cat /sys/class/thermal/thermal_zone0/temp 2>/dev/null; \
    cat /sys/devices/system/cpu/cpu0/cpufreq/scaling_governor 2>/dev/null; true" >"$results/facts" </dev/null
python3 - "$results" "${EDGEQA_RECORDS:-benches/record}" <<'PYTHON'
import datetime, json, pathlib, re, sys
results, records = map(pathlib.Path, sys.argv[1:])
read = lambda name: json.loads((results / name).read_text())
facts = (results / "facts").read_text().splitlines()
now = datetime.datetime.now(datetime.timezone.utc)
record = {"date": now.isoformat(timespec="seconds"), "board": facts[0], "facts": facts[1:], "sha256": {}}
for line in (results / "sums").read_text().splitlines():
    digest, name = line.split()
    record["sha256"][name.removesuffix(".new")] = digest
record |= {"doctor": read("doctor.json"), "eval": {"all cores": read("eval.json")}}
slug = re.sub(r"[^a-z0-9]+", "-", facts[0].lower()).strip("-") or "unknown"
path = records / slug / f"{now:%Y-%m-%d}-deploy.json"
path.parent.mkdir(parents=True, exist_ok=True)
bench = path.with_name(path.name.replace("-deploy", "-bench"))
record["bench"] = bench.name
bench.write_text((results / "bench.json").read_text())
path.write_text(json.dumps(record, indent=1) + "\n")
print(f"written to {path} and {bench}")
for reason in read("bench.json")["throttled"]:
    print(f"warning: the board was THROTTLED while it was measured: {reason}")
PYTHON
