#!/usr/bin/env python3
"""Estimates cycles of the inner loops of the int8 kernels on Arm cores, with llvm-mca: no board is needed, and none was asked.

usage: estimate.py [--json] PROGRAM

PROGRAM is an aarch64 program with symbols that has the kernels, such as the bench `layer` (cargo bench --no-run --bench layer --target
aarch64-unknown-linux-gnu). The loop of a kernel is the one with most multiply-adds, of equal ones the first: of NEON without dot
products, that in which eight products are summed. llvm-mca models the pipelines of a core as LLVM knows them, with every load served by
the nearest cache; it knows nothing of memory. Needs llvm-mca and an objdump for aarch64.
"""
import argparse
import json
import re
import shutil
import subprocess
import sys

# Multiply-adds of an instruction on 128-bit registers.
MACS = {"smull": 8, "smull2": 8, "smlal": 8, "smlal2": 8, "sdot": 16, "smmla": 32}
KERNELS = {"neon": r"gemm_neon\d+block", "neon_dotprod": r"gemm_neon_dot", "neon_i8mm": r"gemm_i8mm"}
# Cores that have the instructions of a kernel.
CORES = {"neon": ["cortex-a53", "cortex-a72", "cortex-a76"], "neon_dotprod": ["cortex-a76"], "neon_i8mm": ["neoverse-n2"]}


def functions(program):
    """Name and instructions, as address and text, of every function of a kernel."""
    objdump = shutil.which("aarch64-linux-gnu-objdump") or shutil.which("llvm-objdump")
    if objdump is None:
        sys.exit("estimate.py: there is no aarch64-linux-gnu-objdump and no llvm-objdump")
    command = [objdump, "-d", "--no-show-raw-insn", program]
    if objdump.endswith("llvm-objdump"):
        command.append("--mattr=+dotprod,+i8mm")
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    name, lines = None, []
    for line in text.splitlines() + ["0 <end>:"]:
        if head := re.match(r"[0-9a-f]+ <(.+)>:$", line):
            if name and re.search("|".join(KERNELS.values()), name):
                yield name, lines
            name, lines = head[1], []
        elif code := re.match(r"\s*([0-9a-f]+):\s+(.+?)(\s*//.*)?$", line):
            lines.append((int(code[1], 16), code[2].replace("\t", " ")))


def macs(loop):
    return sum(MACS.get(text.split()[0], 0) for _, text in loop)


def inner_loop(lines):
    """The loop without loops inside that has most multiply-adds."""
    best = []
    for end, (address, text) in enumerate(lines):
        branch = re.match(r"(?:b\.\w+|cbn?z \w+,|tbn?z .+,) ?(?:0x)?([0-9a-f]+) <", text)
        if branch and int(branch[1], 16) < address:
            loop = [line for line in lines[: end + 1] if line[0] >= int(branch[1], 16)]
            if not any(re.match(r"(?:b\.\w+|cbn?z \w+,) ", text) for _, text in loop[:-1]) and macs(loop) > macs(best):
                best = loop
    return best


def cycles(loop, core):
    """Cycles of one round, in the long run."""
    source = "\n".join(re.sub(r"[0-9a-f]+ <.*>", "0", text) for _, text in loop)
    attributes = "+dotprod,+i8mm,+fullfp16"
    command = ["llvm-mca", "-mtriple=aarch64", f"-mcpu={core}", f"-mattr={attributes}", "-iterations=100"]
    run = subprocess.run(command, input=source, capture_output=True, text=True)
    total = re.search(r"Total Cycles:\s+(\d+)", run.stdout)
    if total is None:
        sys.exit(f"estimate.py: llvm-mca for {core} failed:\n{run.stderr}")
    return int(total[1]) / 100


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("program", metavar="PROGRAM")
    arguments = parser.parse_args()
    if shutil.which("llvm-mca") is None:
        sys.exit("estimate.py: there is no llvm-mca; it is in Debian's package llvm")
    found = list(functions(arguments.program))
    rows = []
    for kernel, pattern in KERNELS.items():
        loop = max((inner_loop(lines) for name, lines in found if re.search(pattern, name)), key=macs, default=[])
        if not loop:
            sys.exit(f"estimate.py: {arguments.program} has no loop of the kernel {kernel}; has it symbols?")
        for core in CORES[kernel]:
            round_cycles = cycles(loop, core)
            row = {"kernel": kernel, "core": core, "instructions": len(loop), "multiply_adds": macs(loop), "cycles": round_cycles}
            rows.append(row | {"per_cycle": round(macs(loop) / round_cycles, 2)})
    if arguments.json:
        print(json.dumps(rows, indent=1))
        return
    print("| kernel | core | instructions | multiply-adds | cycles | multiply-adds per cycle |\n|---|---|--:|--:|--:|--:|")
    for row in rows:
        print("|", " | ".join(str(value) for value in row.values()), "|")


if __name__ == "__main__":
    main()
