#!/usr/bin/env python3
"""Counts the instructions that kernels and one inference execute on emulated Arm CPUs and compares them with the committed figures.

usage: instructions.py [--update] --target TARGET --emulator COMMAND --layer PROGRAM --inference PROGRAM

PROGRAMs are benches/layer.rs and benches/inference.rs, built for TARGET with the profile of boards; cross/instructions.sh builds them
and calls this. Products are the int8 GEMM alone, a layer is that with the conversion to fp32, an inference is the shipped model on 128
tokens; each costs half of what three cost more than one, so that loading and warming up cancel. Counts repeat to 0.1 %. Exit code: 0
within the tolerance, 1 if something takes more instructions, a kernel does fewer multiply-adds per instruction than it must, or a count
fails.
"""
import argparse
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benches"))
from counts import Counts  # noqa: E402

RECORD = ROOT / "benches/record/instructions-arm.json"
# By target, CPUs, the kernels that they choose, and the multiply-adds per instruction that products and layers must reach.
CPUS = {
    "aarch64-unknown-linux-gnu": {
        "cortex-a72": ("gemm_i8_64x16k4_neon", 5.5, 5),
        "cortex-a76": ("gemm_i8_12x64k4_neon_dotprod", 11, 11),
        "max": ("gemm_i8_12x128k4_neon_i8mm", 18, 14),
    },
    "armv7-unknown-linux-gnueabihf": {"cortex-a7": ("gemm_i8_12x64k4_neon32", 4, 3.5)},
}
# Rows, outputs, inputs. Products are those of the longest window of the published model.
PRODUCTS = [(384, 384, 384), (384, 1536, 384), (384, 384, 1536)]
LAYERS = [(64, 384, 384), (128, 384, 1536)]
TOKENS = 128


def count(emulator, plugin, cpu, command):
    """Instructions of one process, and what it prints."""
    options = ["-cpu", cpu, "-d", "plugin", "-plugin", plugin]
    run = subprocess.run([str(part) for part in [*emulator, *options, *command]], capture_output=True, text=True)
    executed = re.findall(r"insns: (\d+)", run.stderr)
    if run.returncode != 0 or not executed:
        sys.exit(f"{' '.join(map(str, command))} failed on {cpu}:\n{run.stderr}")
    return int(executed[-1]), run.stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--update", action="store_true", help="write the counts to " + str(RECORD.relative_to(ROOT)))
    parser.add_argument("--target", required=True, choices=CPUS)
    parser.add_argument("--emulator", required=True, type=shlex.split, metavar="COMMAND", help="QEMU with its options")
    parser.add_argument("--layer", required=True, metavar="PROGRAM")
    parser.add_argument("--inference", required=True, metavar="PROGRAM")
    arguments = parser.parse_args()
    counts = Counts(RECORD, arguments.update)
    with tempfile.TemporaryDirectory() as folder:
        plugin = pathlib.Path(folder) / "count.so"
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", ROOT / "cross/count.c", "-o", plugin], check=True)
        for cpu, (kernel, products_floor, layer_floor) in CPUS[arguments.target].items():
            shape = lambda numbers: "x".join(map(str, numbers))
            commands = {f"products {shape(numbers)}": [arguments.layer, "products", *numbers] for numbers in PRODUCTS}
            commands |= {f"layer {shape(numbers)}": [arguments.layer, *numbers] for numbers in LAYERS}
            commands[f"inference of {TOKENS} tokens"] = [arguments.inference, ROOT / "models/demo/model.safetensors", TOKENS]
            for name, command in commands.items():
                (once, _), (thrice, printed) = (count(arguments.emulator, plugin, cpu, [*command, runs]) for runs in (1, 3))
                now, note = (thrice - once) // 2, ""
                chosen, *multiply_adds = printed.split() or [""]
                if chosen != kernel:
                    sys.exit(f"{cpu} chose {printed.strip()} instead of {kernel}")
                if floor := {"products": products_floor, "layer": layer_floor}.get(name.split()[0]):
                    if not multiply_adds:
                        sys.exit(f"{command[0]} does not print the multiply-adds of {name}")
                    per_instruction = int(multiply_adds[0]) / now
                    note = f", {per_instruction:.2f} multiply-adds each"
                    if per_instruction < floor:
                        note, counts.failed = f"{note}: FEWER THAN {floor}", True
                counts.take([cpu, name], now, note)
    counts.end()


if __name__ == "__main__":
    main()
