#!/usr/bin/env bash
# Tests cross/deploy.sh with programs in the places of ssh and scp whose board is a folder of this machine.
#
# usage: cross/test_deploy.sh [PROGRAM]             (default: target/debug/edgeqa)
set -euo pipefail
cd "$(dirname "$0")/.."
EDGEQA_PROGRAM=$(realpath "${1:-target/debug/edgeqa}")
board=$(mktemp -d)
trap 'rm -rf "$board"' EXIT
mkdir "$board/bin" "$board/home"
cat >"$board/bin/ssh" <<'SSH'
#!/usr/bin/env bash
[ "$1" = pi@board ] && cd "$BOARD/home" && exec sh -c "$2"
SSH
cat >"$board/bin/scp" <<'SCP'
#!/usr/bin/env bash
[ "$1" = -q ] || exit 1
if [ -n "${FULL:-}" ]; then head -c 1000 "$2"; else cat "$2"; fi >"$BOARD/home/${3#pi@board:}"
SCP
chmod +x "$board/bin/"*
export BOARD=$board EDGEQA_PROGRAM EDGEQA_RECORDS=$board/record
# Few runs: what is measured does not matter here.
quick="--lengths 32 --threads 1 --min-runs 2 --min-time 0 --rounds 1 --starts 1"
deploy() { PATH=$board/bin:$PATH cross/deploy.sh "$@" >"$board/log" 2>&1; }
fail() {
    cat "$board/log"
    echo "error: $*" >&2
    exit 1
}

status=0; deploy || status=$?
[ $status = 2 ] || fail "no board is no usage error"
status=0; deploy --dir 'a; touch b' pi@board || status=$?
[ $status = 2 ] && [ ! -e "$board/home/b" ] || fail "a folder that is a command was taken"

status=0; deploy --bench '--pin; touch b' pi@board || status=$?
[ $status = 2 ] && [ ! -e "$board/home/edgeqa/b" ] || fail "options that are a command were taken"

deploy --bench "$quick" pi@board || fail "deploying fails"
cmp -s "$EDGEQA_PROGRAM" "$board/home/edgeqa/edgeqa" || fail "the program was not copied"
record=$(ls "$board"/record/*/*-deploy.json) || fail "there is no record"
python3 - "$record" <<'PYTHON' || fail "the record is not complete"
import json, pathlib, sys
path = pathlib.Path(sys.argv[1])
record = json.loads(path.read_text())
assert record["doctor"]["version"] and record["board"], record
assert set(record["sha256"]) == {"edgeqa", "model.safetensors", "squad.json"}, record["sha256"]
for run in record["eval"].values():
    assert run["metrics"]["total"] == 36 and run["metrics"]["f1"] > 80, run
bench = json.loads((path.parent / record["bench"]).read_text())
assert bench["format"] == "edgeqa-bench" and bench["program"]["sha256"] == record["sha256"]["edgeqa"], bench["program"]
assert [(point["tokens"], point["summary"]["runs"]) for point in bench["points"]] == [(32, 2)], bench["points"]
PYTHON
bench=$(ls "$board"/record/*/*-bench.json)
python3 tests/tools/check_bench.py "$bench" >"$board/log" 2>&1 || fail "the figures do not follow from the times"
"$EDGEQA_PROGRAM" bench --compare "$bench" "$bench" >"$board/log" 2>&1 || fail "the record cannot be compared"

FULL=yes deploy pi@board && fail "a copy that was cut off was taken"
grep -q 'a copy differs' "$board/log" || fail "the error does not say that a copy differs"
cmp -s "$EDGEQA_PROGRAM" "$board/home/edgeqa/edgeqa" || fail "a copy that was cut off replaced the program"
echo "deploy.sh: copies, record and refusals are right"
