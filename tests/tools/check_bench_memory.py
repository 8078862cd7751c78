#!/usr/bin/env python3
"""Compares the memory figures of edgeqa bench's processes with what the system says about them from outside: the peak with
/usr/bin/time -v (ru_maxrss), the rest with /proc/PID/smaps, added up mapping by mapping while the process runs.

usage: tests/tools/check_bench_memory.py [PROGRAM [MODEL]]   (default: target/debug/edgeqa models/demo/model.safetensors)
"""
import json
import pathlib
import re
import subprocess
import sys
import time

TOLERANCE = 0.02
FIELDS = {"Rss": "resident", "Pss": "pss", "Private_Dirty": "private_dirty"}


def children(pid):
    """The process that does the work: time(1) starts it as its only child."""
    return [int(child) for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def smaps(pid):
    """Sums over all mappings, in bytes; the program itself reads smaps_rollup."""
    sums = dict.fromkeys(FIELDS.values(), 0)
    for name, value in re.findall(r"^(\w+): +(\d+) kB$", pathlib.Path(f"/proc/{pid}/smaps").read_text(), re.M):
        if name in FIELDS:
            sums[FIELDS[name]] += 1024 * int(value)
    return sums


def measure(program, task):
    started = ["/usr/bin/time", "-v", program, "bench", "--worker"]
    process = subprocess.Popen(started, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdin.write(json.dumps(task))
    process.stdin.close()
    process.stdin = None
    # The last look before memory is given back, which is when the program reads its own figures, too.
    seen, most = None, 0
    while process.poll() is None:
        try:
            sums = smaps(children(process.pid)[0])
            most = max(most, sums["resident"])
            seen = sums if sums["resident"] > 0.98 * most else seen
        except (OSError, IndexError):
            pass
        time.sleep(0.02)
    said, errors = process.communicate()
    assert process.returncode == 0, errors
    peak = 1024 * int(re.search(r"Maximum resident set size \(kbytes\): (\d+)", errors)[1])
    return json.loads(said)["memory"], {"peak": peak} | seen


program, model = (sys.argv[1:] + ["target/debug/edgeqa", "models/demo/model.safetensors"][len(sys.argv) - 1:])[:2]
text = pathlib.Path("models/demo/texts/lighthouse.txt").read_text()
worst = 0
for threads, times in ((1, 1), (1, 4), (2, 4)):
    questions = {"Questions": {"questions": ["Who was the last keeper?"], "text": text * times}}
    task = {"model": model, "threads": threads, "pin": False, "warm_up": 1, "min_runs": 5, "min_seconds": 4.0, "work": questions}
    said, seen = measure(program, task)
    for name, want in seen.items():
        difference = abs(said[name] - want) / want
        worst = max(worst, difference)
        print(f"{threads} threads, {len(text) * times} bytes of text: {name:<14}{said[name] / 1e6:8.2f} MB, seen {want / 1e6:8.2f} MB")
print(f"largest difference: {100 * worst:.2f} %")
sys.exit(worst > TOLERANCE)
