#!/usr/bin/env python3
"""Counts the instructions of one answer and compares them with the committed figures.

usage: instructions.py [--program target/debug/edgeqa] [--update]

Counts come from valgrind's callgrind: they hardly depend on what else the machine does. One answer is what asking twice costs more than
asking once: tokens, one inference on one thread, decoding. Valgrind knows no AVX-512, so the kernels are those below; what all
kernels share is counted with them. The program is the one that the tests build: optimised, with overflow checks and debug assertions,
so that figures are for comparison with each other only. The committed ones are of a build with CARGO_INCREMENTAL=0, as .ci/run makes; an
incremental build takes a fifth more. Exit code: 0 within the tolerance, 1 if an answer takes more instructions
or a count fails, 3 if there is no valgrind (and nothing was checked).
"""
import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
RECORD = ROOT / "benches/record/instructions.json"
KERNELS = ["gemm_i8_6x64k4_avx2", "gemm_i8_4x16k4_portable"]
QUESTION = "Who kept the light?"
CONTEXT = "Jonas Ekdahl kept the light until 1968, when it was automated."
# Between runs, hash seeds move the count by less than 0.1 %; between compilers it moves by some percent.
TOLERANCE = 0.03


def count(program, kernel, questions):
    """Instructions of one process that answers the question `questions` times with `kernel`."""
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", program, "ask"]
    command += [QUESTION] * questions + ["--context", CONTEXT, "--threads", "1"]
    command += ["--model", str(ROOT / "models/demo/model.safetensors")]
    environment = dict(os.environ, EDGEQA_KERNEL=kernel, RUST_LOG="edgeqa=info")
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    collected = re.search(r"Collected : (\d+)", run.stderr)
    if run.returncode != 0 or collected is None:
        sys.exit(f"{' '.join(command)} failed:\n{run.stderr}")
    if f"int8 kernel: {kernel}" not in run.stderr:
        print(f"SKIPPED {kernel}: this CPU cannot run it")
        return None
    return int(collected[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=str(ROOT / "target/debug/edgeqa"), help="(default: %(default)s)")
    parser.add_argument("--update", action="store_true", help="write the counts to " + str(RECORD.relative_to(ROOT)))
    arguments = parser.parse_args()
    if shutil.which("valgrind") is None:
        print("SKIPPED instruction counts: there is no valgrind")
        sys.exit(3)
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    failed = False
    for kernel in KERNELS:
        once = count(arguments.program, kernel, 1)
        if once is None:
            continue
        now = count(arguments.program, kernel, 2) - once
        if arguments.update:
            record[kernel] = now
            print(f"{kernel}: {now} instructions")
            continue
        if kernel not in record:
            sys.exit(f"{RECORD} has no figure for {kernel}; run {sys.argv[0]} --update and commit the file")
        ratio = now / record[kernel]
        verdict = "within the tolerance"
        if ratio > 1 + TOLERANCE:
            verdict, failed = "SLOWER: find the reason, or run --update and say why in the commit", True
        elif ratio < 1 - TOLERANCE:
            verdict = "fewer: run --update and commit the file"
        print(f"{kernel}: {now} instructions, {ratio:.4f} of the committed {record[kernel]}: {verdict}")
    if arguments.update:
        RECORD.parent.mkdir(parents=True, exist_ok=True)
        RECORD.write_text(json.dumps(record, indent=2) + "\n")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
