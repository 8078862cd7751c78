#!/usr/bin/env python3
"""Counts the instructions that one inference executes on an emulated Arm CPU: edgeqa beside ONNX Runtime's dynamic int8 graph.

Prints a Markdown table to standard output and progress to standard error, and writes everything to a JSON record. Exit code: 0 if
every ratio is within --max-ratio, 1 if one is above it or a count fails. One thread, one sequence. An inference is half of what three
cost more than one, so that loading and warming up cancel.

What it needs, on x86-64 Debian 12 or a relative of it:

  QEMU and arm64 libraries, beside those of the host:
    dpkg --add-architecture arm64 && apt-get update
    apt-get install qemu-user gcc libc6:arm64 libstdc++6:arm64 libgcc-s1:arm64 zlib1g:arm64 libffi8:arm64
  --python: arm64's Python, unpacked and not installed, in a folder of its own:
    apt-get download python3.11-minimal:arm64 libpython3.11-minimal:arm64 libpython3.11-stdlib:arm64 libexpat1:arm64
    for package in *.deb; do dpkg -x $package arm64/python; done
  --site: the wheels of ONNX Runtime for that Python, in another:
    pip install --target arm64/site --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 \\
      --platform manylinux2014_aarch64 --python-version 3.11 --implementation cp --only-binary=:all: onnxruntime==1.32.0 numpy
  --inference: benches/inference.rs, built for Arm; cargo names the file at the end of
    cargo bench --bench inference --no-run --target aarch64-unknown-linux-gnu
  the int8 graph, if it is not there yet: onnxruntime and onnx for the Python that runs this script.
"""
import argparse
import contextlib
import datetime
import json
import pathlib
import re
import subprocess
import sys
import tempfile

import host
import tables
from compare import HERE, ROOT, describe, place, positive, quantise, say, today, vocabulary, write

# What /proc/cpuinfo says of a CPU: implementer, part, variant and revision.
IDENTITIES = {
    "cortex-a53": ("0x41", "0xd03", "0x0", 4),
    "cortex-a72": ("0x41", "0xd08", "0x0", 3),
    "cortex-a76": ("0x41", "0xd0b", "0x4", 1),
    "neoverse-n1": ("0x41", "0xd0c", "0x4", 1),
    "max": ("0x00", "0x051", "0x0", 0),
}
# The names that Linux gives the bits of AT_HWCAP and AT_HWCAP2.
HWCAP = (
    "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm jscvt fcma lrcpc dcpop sha3 sm3 sm4 asimddp sha512 "
    "sve asimdfhm dit uscat ilrcpc flagm ssbs sb paca pacg"
).split()
HWCAP2 = (
    "dcpodp sve2 sveaes svepmull svebitperm svesha3 svesm4 flagm2 frint svei8mm svef32mm svef64mm svebf16 i8mm bf16 dgh rng bti mte "
    "ecv afp rpres mte3 sme smei16i64 smef64f64 smei8i32 smef16f32 smeb16f32 smef32f32 smefa64 wfxt"
).split()


def main():
    args = parse()
    out = place(args.out, ROOT / "benches" / "record" / "emulated" / f"{today()}.json")
    int8 = args.int8_onnx or args.onnx.with_suffix(".int8.onnx")
    if not int8.exists():
        quantise(args.onnx, int8)
    record = {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "edgeqa": host.commit(HERE),
        "inference": {**describe(args.inference), "file": "inference"},
        "qemu": run([args.qemu, "--version"]).stdout.splitlines()[0],
        "models": {role: describe(path) for role, path in zip(("edgeqa", "fp32", "int8"), (args.model, args.onnx, int8))},
        "tokens": args.tokens,
        "cpus": [],
    }
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        plugin = args.plugin or build_counter(folder)
        for cpu in args.cpu or ["cortex-a72", "cortex-a76"]:
            emulator = Emulator(args.qemu, plugin, cpu, folder / cpu)
            record["cpus"].append(compare(args, emulator, int8))
    # Nothing is lost if nobody reads the table.
    try:
        report(record)
    finally:
        write(record, out)
    above = [row["cpu"] for row in record["cpus"] if row["ratio"] > args.max_ratio]
    if above:
        sys.exit(f"arm.py: edgeqa takes more than {args.max_ratio} of the instructions of ORT int8 on {' and '.join(above)}")


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    path = pathlib.Path
    parser.add_argument("--onnx", type=path, required=True, metavar="FILE", help="the fp32 graph")
    parser.add_argument("--model", type=path, required=True, metavar="FILE", help="edgeqa's file of the same model")
    parser.add_argument("--int8-onnx", type=path, metavar="FILE", help="ONNX Runtime's dynamic int8 graph, made if missing [default: beside the fp32 graph]")
    parser.add_argument("--inference", type=path, required=True, metavar="FILE", help="the program of benches/inference.rs for Arm")
    parser.add_argument("--python", type=path, required=True, metavar="ROOT", help="folder with Debian's arm64 Python")
    parser.add_argument("--site", type=path, required=True, metavar="FOLDER", help="folder with the arm64 wheels, unpacked")
    parser.add_argument("--qemu", default="qemu-aarch64", metavar="FILE", help="[default: qemu-aarch64]")
    parser.add_argument(
        "--plugin",
        metavar="FILE[,ARG..]",
        help="plugin of QEMU that prints `insns: N` or `insns N`, such as tests/plugin/insn.c of QEMU's sources [default: one built with cc, for QEMU 7 and 8]",
    )
    parser.add_argument("--tokens", type=positive, default=128, metavar="N", help="length [default: 128]")
    parser.add_argument(
        "--cpu", action="append", type=known_cpu, metavar="NAME[,PROPERTY..]", help="for QEMU; can be repeated [default: cortex-a72 and cortex-a76]"
    )
    parser.add_argument("--fp32", action="store_true", help="count ONNX Runtime on the fp32 graph, too")
    parser.add_argument("--max-ratio", type=float, default=0.55, metavar="R", help="fail above [default: 0.55]")
    parser.add_argument("--out", type=path, metavar="FILE", help="record [default: a new benches/record/emulated/DATE.json]")
    args = parser.parse_args()
    for file in (args.onnx, args.model, args.inference):
        if not file.is_file():
            parser.error(f"{file} is no file")
    if not (args.site / "onnxruntime").is_dir():
        parser.error(f"{args.site} has no onnxruntime")
    found = sorted((args.python / "usr/bin").glob("python3.*"))
    if not found:
        parser.error(f"{args.python} has no usr/bin/python3.*")
    args.interpreter = found[-1]
    return args


def known_cpu(text):
    if text.split(",")[0] not in IDENTITIES:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(IDENTITIES)}")
    return text


def run(command, stdin=None):
    """The finished process; ends this one if it fails."""
    with contextlib.suppress(OSError):
        done = subprocess.run([str(part) for part in command], input=stdin, capture_output=True, text=True)
        if done.returncode == 0:
            return done
        sys.exit(f"{done.stderr}arm.py: error: exit code {done.returncode} of {' '.join(map(str, command))}")
    sys.exit(f"arm.py: error: cannot start {command[0]}")


def build_counter(folder):
    plugin = folder / "count.so"
    run(["cc", "-O2", "-shared", "-fPIC", ROOT / "cross/count.c", "-o", plugin])
    return plugin


class Emulator:
    """QEMU's emulation of one CPU for programs, together with the files by which Linux describes that CPU.

    ONNX Runtime reads these, and QEMU lets it see those of the host, on which it crashes. QEMU looks for every file below the folder
    of `-L` first."""

    def __init__(self, qemu, plugin, cpu, system):
        self.cpu, self._system = cpu, system
        self._qemu = [qemu, "-L", system, "-cpu", cpu]
        self._plugin = ["-plugin", plugin, "-d", "plugin"]
        self.features = None

    def describe_cpu(self, program):
        """Writes the files, with the features that the emulated CPU shows to `program`."""
        shown = run([*self._qemu, "-E", "LD_SHOW_AUXV=1", program]).stdout
        bits = {name: int(value, 16) for name, value in re.findall(r"^(AT_HWCAP2?):\s+(\w+)$", shown, re.M)}
        known = [("AT_HWCAP", HWCAP), ("AT_HWCAP2", HWCAP2)]
        self.features = [name for word, names in known for bit, name in enumerate(names) if bits.get(word, 0) >> bit & 1]
        implementer, part, variant, revision = IDENTITIES[self.cpu.split(",")[0]]
        fields = {"processor": 0, "Features": " ".join(self.features), "CPU implementer": implementer, "CPU architecture": 8}
        fields |= {"CPU variant": variant, "CPU part": part, "CPU revision": revision}
        files = {"/proc/cpuinfo": "".join(f"{name}\t: {value}\n" for name, value in fields.items())}
        cpus, cache = "/sys/devices/system/cpu", "/sys/devices/system/cpu/cpu0/cache/index2"
        files |= {f"{cpus}/{name}": 0 for name in ("possible", "present", "online", "kernel_max")}
        files |= {f"{cpus}/cpu0/topology/{name}": 0 for name in ("physical_package_id", "cluster_cpus_list")}
        files |= {f"{cache}/level": 2, f"{cache}/size": "512K", f"{cache}/shared_cpu_list": 0}
        for name, text in files.items():
            file = self._system / name.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{text}\n")

    def count(self, program, stdin=None):
        """Instructions of one process, and the lines that it prints."""
        done = run([*self._qemu, *self._plugin, *program], stdin)
        counts = re.findall(r"insns:? (\d+)", done.stderr)
        if not counts:
            sys.exit(f"{done.stderr}arm.py: error: the plugin did not print the number of instructions")
        return int(counts[-1]), done.stdout.splitlines()


def compare(args, emulator, int8):
    """Counts of all runtimes on one CPU, and what follows from them."""
    emulator.describe_cpu(args.inference)
    row = {"cpu": emulator.cpu, "features": emulator.features}
    row["edgeqa"] = inference(emulator, "edgeqa", lambda runs: ([args.inference, args.model, args.tokens, runs], None))
    row["edgeqa"]["kernel"] = row["edgeqa"].pop("lines")[-1]
    graphs = {"ORT int8": int8} | ({"ORT fp32": args.onnx} if args.fp32 else {})
    libraries = ":".join(str(args.python / folder / "aarch64-linux-gnu") for folder in ("usr/lib", "lib"))
    variables = {"PYTHONHOME": args.python / "usr", "PYTHONPATH": args.site, "PYTHONHASHSEED": 0, "LD_LIBRARY_PATH": libraries}
    python = [part for name, value in variables.items() for part in ("-E", f"{name}={value}")] + [args.interpreter]
    for name, graph in graphs.items():
        worker = [*python, HERE / "ort_worker.py", "--model", graph, "--vocabulary", vocabulary(args.model)]
        row[name] = inference(emulator, name, lambda runs: (worker, f"{args.tokens} {runs}\n"))
        row[name]["version"] = json.loads(row[name].pop("lines")[0])["version"]
    row["ratio"] = row["edgeqa"]["inference"] / row["ORT int8"]["inference"]
    return row


def inference(emulator, name, program):
    """What three inferences cost more than one, halved, and the lines that the last process printed."""
    counts = {}
    for runs in (1, 3):
        say(f"{emulator.cpu}: {name}, {runs} inferences")
        counts[runs], lines = emulator.count(*program(runs))
    return {"processes": counts, "inference": (counts[3] - counts[1]) // 2, "lines": lines}


def report(record):
    ort = record["cpus"][0]["ORT int8"]["version"]
    print(f"{record['date']}, edgeqa {(record['edgeqa'] or {}).get('commit', 'of an unknown commit')}, onnxruntime {ort}")
    print(f"{record['qemu']}; millions of instructions per inference at {record['tokens']} tokens\n")
    millions = lambda counts: f"{counts['inference'] / 1e6:.1f}" if counts else ""
    fp32 = any("ORT fp32" in row for row in record["cpus"])
    rows = [
        [row["cpu"], row["edgeqa"]["kernel"], *(millions(row[name]) for name in ("edgeqa", "ORT int8")), f"{row['ratio']:.3f}"]
        + ([millions(row.get("ORT fp32"))] if fp32 else [])
        for row in record["cpus"]
    ]
    header = ["CPU", "edgeqa's kernel", "edgeqa", "ORT int8", "edgeqa / ORT int8"] + (["ORT fp32"] if fp32 else [])
    print(tables.table(header, rows))


if __name__ == "__main__":
    main()
