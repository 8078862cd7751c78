#!/usr/bin/env python3
"""Counts the instructions of one answer and compares them with the committed figures.

usage: instructions.py [--program target/debug/edgeqa] [--update]

Counts come from valgrind's callgrind: they hardly depend on what else the machine does, and hash seeds move them by less than 0.1 %.
One answer is what asking twice costs more than asking once: tokens, one inference on one thread, decoding. Valgrind knows no AVX-512,
so the kernels are those below; what all kernels share is counted with them. The program is the one that the tests build: optimised,
with overflow checks and debug assertions, so that figures are for comparison with each other only. The committed ones are of a build
with CARGO_INCREMENTAL=0, as .ci/run makes; an incremental build takes a fifth more. Exit code: 0 within the tolerance, 1 if an answer
takes more instructions or a count fails, 3 if there is no valgrind (and nothing was checked).
"""
import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys

from counts import Counts

ROOT = pathlib.Path(__file__).resolve().parent.parent
RECORD = ROOT / "benches/record/instructions.json"
KERNELS = ["gemm_i8_6x64k4_avx2", "gemm_i8_4x16k4_portable"]
QUESTION = "Who kept the light?"
CONTEXT = "Jonas Ekdahl kept the light until 1968, when it was automated."


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
    counts = Counts(RECORD, arguments.update)
    for kernel in KERNELS:
        once = count(arguments.program, kernel, 1)
        if once is not None:
            counts.take([kernel], count(arguments.program, kernel, 2) - once)
    counts.end()


if __name__ == "__main__":
    main()
