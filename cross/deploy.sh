#!/usr/bin/env bash
# Copies edgeqa to a board, checks the copies, asks `edgeqa doctor` there, measures, and brings the result back to benches/record/BOARD/.
#
# usage: cross/deploy.sh [--target TARGET] [--model FILE] [--dir DIR] USER@BOARD
#   --target   what cross/build.sh has built [default: aarch64-unknown-linux-gnu]
#   --model    model file [default: models/demo/model.safetensors]
#   --dir      folder on the board, made if missing [default: edgeqa, in the user's home]
# Example: cross/deploy.sh pi@raspberrypi.local
#
# EDGEQA_PROGRAM names another program to copy, EDGEQA_RECORDS another folder for the record.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
    sed -n '4,8s/^# //p' cross/deploy.sh >&2
    exit 2
}
target=aarch64-unknown-linux-gnu model=models/demo/model.safetensors dir=edgeqa board=
while [ $# -gt 0 ]; do
    case $1 in
    --target) target=${2:-} ;;
    --model) model=${2:-} ;;
    --dir) dir=${2:-} ;;
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
echo "measuring: questions of squad.json, on one thread and on all cores"
for threads in 1 all; do
    option="--threads 1"
    [ $threads = 1 ] || option=
    ssh "$board" "cd $dir && ./edgeqa eval --squad squad.json --model model.safetensors --json $option" >"$results/$threads.json" </dev/null
done
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
record |= {"doctor": read("doctor.json"), "eval": {"1 thread": read("1.json"), "all cores": read("all.json")}}
slug = re.sub(r"[^a-z0-9]+", "-", facts[0].lower()).strip("-") or "unknown"
path = records / slug / f"{now:%Y-%m-%d}-deploy.json"
path.parent.mkdir(parents=True, exist_ok=True)
path.write_text(json.dumps(record, indent=1) + "\n")
print(f"written to {path}")
PYTHON
