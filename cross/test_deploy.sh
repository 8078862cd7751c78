#!/usr/bin/env bash
# Tests cross/deploy.sh with programs in the places of ssh and scp whose board is a folder of this machine.
#
# usage: cross/test_deploy.sh [PROGRAM]             (default: target/debug/edgeqa)
set -euo pipefail
program=$(realpath -ms -- "${1:-$(dirname "$0")/../target/debug/edgeqa}")
cd "$(dirname "$0")/.."
board=$(mktemp -d)
trap 'rm -rf "$board"' EXIT
mkdir "$board/bin" "$board/home"
# Takes all of its input, as ssh does, and is lost in the command $LOST.
cat >"$board/bin/ssh" <<'SSH'
#!/usr/bin/env bash
while [ "$1" = -o ]; do shift 2; done
[ "$1" != -O ] || { echo "$3 $2" >>"$BOARD/ended"; exit; }
[ "$1" = pi@board ] || [ "$1" = pi@fe80::1%eth0 ] || exit 255
[ -z "${LOST:-}" ] || [[ $2 != *"$LOST"* ]] || exit 255
cat >"$BOARD/input"
cd "$BOARD/home" && sh -c "$2" <"$BOARD/input"
SSH
# Writes a part only: and says so, if the disk is FULL, or not, if the copy is CUT.
cat >"$board/bin/scp" <<'SCP'
#!/usr/bin/env bash
[ "$1" = -q ] || exit 1
shift
while [ "$1" = -o ]; do shift 2; done
case $2 in
pi@board:*) to=${2#pi@board:} ;;
'pi@[fe80::1%eth0]:'*) to=${2#'pi@[fe80::1%eth0]:'} ;;
*) exit 255 ;;
esac
if [ -n "${FULL:-}${CUT:-}" ]; then head -c 1000 "$1"; else cat "$1"; fi >"$BOARD/home/$to"
[ -z "${FULL:-}" ]
SCP
cat >"$board/bin/df" <<'DF'
#!/usr/bin/env bash
printf 'Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/root 60000000 1 %s 99%% /\n' "${FREE:-50000000}"
DF
cat >"$board/bin/mv" <<'MV'
#!/usr/bin/env bash
[ -z "${STUCK:-}" ] || [[ $* != *model.safetensors* ]] || exit 1
exec /bin/mv "$@"
MV
# Answers at once, and then fails in the command $SICK.
cat >"$board/program" <<'PROGRAM'
#!/bin/sh
echo '{"throttled": []}'
[ "${SICK:-}" != "$1" ]
PROGRAM
chmod +x "$board/program" "$board/bin/"*
export BOARD=$board EDGEQA_PROGRAM=$program EDGEQA_RECORDS=$board/record
# Few runs: what is measured does not matter here.
quick="--lengths 32 --threads 1 --min-runs 2 --min-time 0 --rounds 1 --starts 1"
script=$PWD/cross/deploy.sh
deploy() { PATH=$board/bin:$PATH "$script" "$@" >"$board/log" 2>&1; }
fail() {
    cat "$board/log"
    echo "error: $*" >&2
    exit 1
}
# says TEXT: the last deployment has printed that.
says() { grep -qF -- "$1" "$board/log" || fail "deploy.sh does not say: $1"; }
# untouched: the board has what the first deployment left, and nothing else.
untouched() {
    cmp -s "$program" "$board/home/edgeqa/edgeqa" || fail "$1 replaced the program"
    ! ls "$board"/home/edgeqa/*.new >/dev/null 2>&1 || fail "$1 is left on the board"
}
records() { find "$board/record" -name "*-$1.json" | sort; }

status=0; deploy || status=$?
[ $status = 2 ] || fail "no board is no usage error"
status=0; deploy --dir 'a; touch b' pi@board || status=$?
[ $status = 2 ] && [ ! -e "$board/home/b" ] || fail "a folder that is a command was taken"

status=0; deploy --bench '--pin; touch b' pi@board || status=$?
[ $status = 2 ] && [ ! -e "$board/home/edgeqa/b" ] || fail "options that are a command were taken"

# A machine that lacks one of the programs that are needed here.
mkdir "$board/few"
for name in bash dirname realpath python3 ssh scp sha256sum; do
    ln -s "$(PATH=$board/bin:$PATH type -P $name)" "$board/few/$name"
done
for name in python3 ssh scp sha256sum; do
    mv "$board/few/$name" "$board/lacking"
    PATH=$board/few "$script" pi@board >"$board/log" 2>&1 && fail "a machine without $name was taken"
    says "there is no $name, which"
    mv "$board/lacking" "$board/few/$name"
done

# Names of files count from where the caller is, and what the caller reads stays.
cp models/demo/model.safetensors "$board/a:model.safetensors"
(
    cd "$board"
    export EDGEQA_RECORDS=record
    deploy --model a:model.safetensors --bench "$quick" pi@board || fail "deploying fails"
    read -r next && [ "$next" = "the next board" ] || fail "deploying reads what is the caller's"
) <<<"the next board"
cmp -s "$program" "$board/home/edgeqa/edgeqa" || fail "the program was not copied"
[ "$(cat "$board/ended")" = "pi@board exit" ] || fail "the shared connection is not closed"
record=$(records deploy)
[ -f "$record" ] || fail "there is no record"
python3 - "$record" <<'PYTHON' || fail "the record is not complete"
import json, pathlib, sys
path = pathlib.Path(sys.argv[1])
record = json.loads(path.read_text())
assert record["doctor"]["version"] and record["board"] and "failed" not in record, record
assert set(record["sha256"]) == {"edgeqa", "model.safetensors", "squad.json"}, record["sha256"]
for run in record["eval"].values():
    assert run["metrics"]["total"] == 36 and run["metrics"]["f1"] > 80, run
bench = json.loads((path.parent / record["bench"]).read_text())
assert bench["format"] == "edgeqa-bench" and bench["program"]["sha256"] == record["sha256"]["edgeqa"], bench["program"]
assert [(point["tokens"], point["summary"]["runs"]) for point in bench["points"]] == [(32, 2)], bench["points"]
PYTHON
bench=$(records bench)
python3 tests/tools/check_bench.py "$bench" >"$board/log" 2>&1 || fail "the figures do not follow from the times"
"$program" bench --compare "$bench" "$bench" >"$board/log" 2>&1 || fail "the record cannot be compared"

FULL=yes deploy pi@board && fail "a copy that failed was taken"
says "Is the disk full?"
untouched "a copy that failed"
CUT=yes deploy pi@board && fail "a copy that was cut off was taken"
says "a copy differs"
untouched "a copy that was cut off"
FREE=1000 deploy pi@board && fail "a board without space was taken"
says "1000 kB free"
untouched "a copy without space"
EDGEQA_RECORDS=/proc/record deploy pi@board && fail "a folder in which there can be no record was taken"
says "cannot write to /proc/record"
untouched "a record without a folder"
LOST='mkdir' deploy pi@board && fail "a board that is away was taken"
says "cannot make the folder"

export EDGEQA_PROGRAM=$board/program
STUCK=yes deploy pi@board && fail "a model that is not in its place was taken"
says "cannot put the copies in their places"
# A file has the name of the board's folder.
mkdir "$board/taken"
touch "$board/taken/$(basename "$(dirname "$record")")"
EDGEQA_RECORDS=$board/taken deploy pi@board && fail "a record that cannot be written was not noticed"
kept=$(sed -n 's/.*what was found on pi@board is in //p' "$board/log")
[ -s "$kept/doctor.json" ] && [ -s "$kept/bench.json" ] || fail "a record that cannot be written loses what was found"
rm -r "$kept"
sleep 1
LOST='edgeqa bench' deploy pi@board && fail "a lost connection was not noticed"
says "edgeqa bench failed"
lost=$(records deploy | tail -1)
python3 - "$lost" <<'PYTHON' || fail "what was found before the connection was lost is not in the record"
import json, sys
record = json.load(open(sys.argv[1]))
assert record["failed"] == "edgeqa bench" and record["doctor"] and record["eval"] and "bench" not in record, record
PYTHON
sleep 1
SICK=doctor deploy pi@board && fail "a doctor who finds something was not noticed"
python3 - "$(records deploy | tail -1)" <<'PYTHON' || fail "what the doctor found is not in the record"
import json, sys
record = json.load(open(sys.argv[1]))
assert record["failed"] == "edgeqa doctor" and record["doctor"] and "eval" not in record, record
PYTHON
sleep 1
deploy pi@fe80::1%eth0 || fail "an IPv6 address is not understood"
deploy 'pi@[fe80::1%eth0]' || fail "an IPv6 address in brackets is not understood"
[ "$(records bench | wc -l)" -ge 2 ] && [ -f "$record" ] && [ -f "$lost" ] || fail "a record replaced another one"

# The newest of what is built, in a clone that has nothing else.
mkdir -p "$board/clone/cross" "$board"/clone/target/{,debian/}any/board
cp cross/deploy.sh "$board/clone/cross"
ln -s "$PWD/models" "$board/clone/models"
script=$board/clone/cross/deploy.sh
unset EDGEQA_PROGRAM
touch -d 2020-01-02 "$board/clone/target/debian/any/board/edgeqa"
for day in 2020-01-01 2020-01-03; do
    touch -d $day "$board/clone/target/any/board/edgeqa"
    newest=$(ls -t "$board"/clone/target/{,debian/}any/board/edgeqa | head -1)
    FREE=1 deploy --target any pi@board && fail "a board without space was taken"
    says "copying $newest and"
done
echo "deploy.sh: copies, record and refusals are right"
