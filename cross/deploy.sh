#!/usr/bin/env bash
# Copies edgeqa to a board, checks the copies, asks `edgeqa doctor` there, measures with `edgeqa eval` and `edgeqa bench`, and brings the
# results back to benches/record/BOARD/. What ends with -bench.json can be given to `edgeqa bench --compare`.
#
# usage: cross/deploy.sh [--target TARGET] [--model FILE] [--dir DIR] [--bench OPTIONS] USER@BOARD
#   --target   what cross/build.sh has built, the newest of it [default: aarch64-unknown-linux-gnu]
#   --model    model file [default: models/demo/model.safetensors]
#   --dir      folder on the board, made if missing [default: edgeqa, in the user's home]
#   --bench    options of edgeqa bench, such as "--lengths 128,384 --threads 1,4" [default: its own]
# Example: cross/deploy.sh pi@raspberrypi.local
#
# EDGEQA_PROGRAM names another program to copy, EDGEQA_RECORDS another folder for the record. If something fails on the board, what was
# found before is written.
set -euo pipefail
# What the caller reads, which may be a list of boards, is not for ssh.
exec </dev/null

usage() {
    sed -n '5,10s/^# //p' "$0" >&2
    exit 2
}
fail() {
    echo "error: $*" >&2
    exit 1
}
repository=$(realpath "$(dirname "$0")/..")
target=aarch64-unknown-linux-gnu model=$repository/models/demo/model.safetensors dir=edgeqa bench='' board=''
while [ $# -gt 0 ]; do
    case $1 in
    --target | --model | --dir | --bench) [ $# -ge 2 ] || usage ;;&
    --target) target=$2 ;;
    --model) model=$(realpath -ms -- "$2") ;;
    --dir) dir=$2 ;;
    --bench) bench=$2 ;;
    -*) usage ;;
    *)
        [ -z "$board" ] || usage
        board=$1
        shift
        continue
        ;;
    esac
    shift 2
done
[ -n "$board" ] || usage
# What is written into commands for the board.
[[ $dir =~ ^[A-Za-z0-9_./-]+$ && $dir != -* ]] || { echo "error: --dir $dir: only letters, digits and _ . / - are understood" >&2; exit 2; }
[[ $bench =~ ^[A-Za-z0-9_.,\ -]*$ ]] || { echo "error: --bench $bench: only options with numbers and sizes are understood" >&2; exit 2; }
# scp wants brackets round an address with colons, ssh wants none.
host=${board##*@} user=${board%"${board##*@}"}
host=${host#[} host=${host%]}
board=$user$host remote=$user$host
[[ $host != *:* ]] || remote="${user}[$host]"

needs() { command -v "$1" >/dev/null || fail "there is no $1, which $2"; }
needs python3 "writes the record"
needs ssh "talks to the board"
needs scp "copies to the board"
needs sha256sum "checks the copies"
program=${EDGEQA_PROGRAM:+$(realpath -ms -- "$EDGEQA_PROGRAM")}
records=$(realpath -ms -- "${EDGEQA_RECORDS:-$repository/benches/record}")
cd "$repository"
if [ -z "$program" ]; then
    for built in {target,target/debian}/"$target"/board/edgeqa; do
        [ ! -f "$built" ] || [ "$program" -nt "$built" ] || program=$PWD/$built
    done
fi
[ -f "$program" ] || fail "there is no program for $target; run cross/build.sh $target"
[ -f "$model" ] || fail "$model is no file"
mkdir -p "$records" 2>/dev/null && [ -w "$records" ] || fail "cannot write to $records; name another folder with EDGEQA_RECORDS"
files=("$program" "$model" "$PWD/models/demo/squad.json")
names=(edgeqa model.safetensors squad.json)

results=$(mktemp -d)
# One connection for all, so that a password is asked for once; a board that does not answer for half a minute is lost. Paths of sockets are
# short.
socket=$(mktemp -d /tmp/edgeqa.XXXXXX)
shared=(-o ControlMaster=auto -o ControlPersist=60 -o "ControlPath=$socket/%C" -o ServerAliveInterval=10 -o ServerAliveCountMax=3)
ssh() { command ssh "${shared[@]}" "$@"; }
copying='' keep=''
finish() {
    [ -z "$copying" ] || ssh -o ConnectTimeout=10 "$board" "cd $dir && rm -f ${names[*]/%/.new}" || true
    ssh -O exit "$board" 2>/dev/null || true
    rm -rf "$socket"
    [ -n "$keep" ] || rm -rf "$results"
}
trap finish EXIT
echo "copying $program and $model to $board:$dir"
free=$(ssh "$board" "mkdir -p $dir && df -Pk $dir") || fail "cannot make the folder $dir on $board"
free=$(sed -n '2s/.* \([0-9][0-9]*\)  *[0-9][0-9]*% .*/\1/p' <<<"$free")
needed=$(($(cat "${files[@]}" | wc -c) / 1024 + 1))
[ -z "$free" ] || [ "$free" -ge "$needed" ] ||
    fail "$board has $free kB free in $dir, and the copies take $needed kB until they replace what is there. Nothing was copied"
# Beside what is there, which a running program may have mapped; renamed once the checksums are right.
copying=yes
for i in "${!files[@]}"; do
    scp -q "${shared[@]}" "${files[i]}" "$remote:$dir/${names[i]}.new" ||
        fail "cannot copy ${files[i]} to $board; what was there is as it was. Is the disk full?"
    echo "$(sha256sum <"${files[i]}" | cut -d' ' -f1)  ${names[i]}.new" >>"$results/sums"
done
ssh "$board" "cd $dir && sha256sum -c -" <"$results/sums" || fail "a copy differs; what was on $board is as it was. Is the disk full?"
ssh "$board" "cd $dir && chmod 755 edgeqa.new && for file in ${names[*]}; do mv -f \$file.new \$file || exit 1; done" ||
    fail "cannot put the copies in their places on $board; those of ${names[*]} that come first may be there"
copying=''

ssh "$board" "cat /proc/device-tree/model 2>/dev/null | tr '\\0' '\\n' | grep . || uname -m; uname -srm; cat /sys/class/thermal/thermal_zone0/temp 2>/dev/null; \
    cat /sys/devices/system/cpu/cpu0/cpufreq/scaling_governor 2>/dev/null; true" >"$results/facts" || fail "cannot ask $board what it is"
# step COMMAND OPTIONS WHAT: the JSON that a command of edgeqa prints on the board, also where it fails; nothing if a step before has.
failed=''
step() {
    [ -z "$failed" ] || return 0
    echo "$3"
    ssh "$board" "cd $dir && ./edgeqa $1 --model model.safetensors --json $2" >"$results/$1" || failed="edgeqa $1"
    if python3 -c 'import json, sys; json.load(open(sys.argv[1]))' "$results/$1" 2>/dev/null; then
        mv "$results/$1" "$results/$1.json"
    else
        failed="edgeqa $1"
    fi
}
step doctor "" "asking edgeqa doctor"
step eval "--squad squad.json" "answering the questions of squad.json"
step bench "$bench" "measuring with edgeqa bench"
keep=yes
python3 - "$results" "$records" "$failed" <<'PYTHON' || fail "the record could not be written; what was found on $board is in $results"
import datetime, json, pathlib, re, sys
results, records = map(pathlib.Path, sys.argv[1:3])
found = {path.stem: path.read_text() for path in results.glob("*.json")}
facts = (results / "facts").read_text().splitlines()
now = datetime.datetime.now(datetime.timezone.utc)
record = {"date": now.isoformat(timespec="seconds"), "board": facts[0], "facts": facts[1:], "sha256": {}}
for line in (results / "sums").read_text().splitlines():
    digest, name = line.split()
    record["sha256"][name.removesuffix(".new")] = digest
if "doctor" in found:
    record["doctor"] = json.loads(found["doctor"])
if "eval" in found:
    record["eval"] = {"all cores": json.loads(found["eval"])}
if sys.argv[3]:
    record["failed"] = sys.argv[3]
slug = re.sub(r"[^a-z0-9]+", "-", facts[0].lower()).strip("-") or "unknown"
# The time keeps records of one day apart.
path = records / slug / f"{now:%Y-%m-%dT%H%M%SZ}-deploy.json"
path.parent.mkdir(parents=True, exist_ok=True)
written = [path]
if "bench" in found:
    bench = path.with_name(path.name.replace("-deploy", "-bench"))
    record["bench"] = bench.name
    bench.write_text(found["bench"])
    written.append(bench)
path.write_text(json.dumps(record, indent=1) + "\n")
print("written to", " and ".join(map(str, written)))
bench = json.loads(found.get("bench", "{}"))
for reason in bench.get("throttled", []):
    print(f"warning: the board was THROTTLED while it was measured: {reason}")
for reason in bench.get("warnings", []):
    print(f"warning: the figures are doubtful: {reason}")
PYTHON
keep=''
[ -z "$failed" ] || fail "$failed failed on $board, or the connection was lost; the record has what was found before"
