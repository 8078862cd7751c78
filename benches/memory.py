#!/usr/bin/env python3
"""What one question over 384 tokens costs in memory: edgeqa, and the same graph with ONNX Runtime and tokenizers, in one run.

Every candidate is a process of its own, watched from outside every millisecond:
  peak       most resident memory, as the kernel counts it (ru_maxrss); pages of mapped files count
  private    most anonymous memory seen (RssAnon of /proc/PID/status)
  faults     minor and major page faults
  cpu        processor time, user and system
  wall       from the start of the process to its end; means something only on a machine that does nothing else
For edgeqa also with the file dropped from the page cache, and a question over few tokens, which shows what the start costs: an inference
of so few takes one or two milliseconds of it. Needs Linux; for the peers: pip install onnxruntime tokenizers numpy.

usage: memory.py [--edgeqa target/release/edgeqa] [--model model.safetensors] [--onnx model.onnx] [--int8 model.int8.onnx]
                 [--tokenizer tokenizer.json] [--peers edgeqa-peers] [--threads 1] [--runs 5] [--limits 96,64,48] [--json] [--out FILE]

--onnx and --int8 name graphs. --tokenizer measures ONNX Runtime on them, --peers rten, by the worker of benches/peers: without a tokenizer,
and two runs instead of one.
--out also writes a record: all figures, the machine, the commit, the sha256 of programs and models, and the versions of the peers.
--limits runs edgeqa in control groups of so many MiB, its model dropped from the page cache first, so that its pages count. Five questions
over the same text: what the first reads, the others read again if it did not fit. Needs to be root, or a delegated group.

Exit code: 0 if all was measured, 1 if something failed, 2 for wrong usage. What was measured is shown and written in any case.
"""
import argparse
import contextlib
import datetime
import importlib.metadata
import importlib.util
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "benches/peers"))
import host  # noqa: E402
from compare import BUILT, place, positive, without_folders, write  # noqa: E402

TOKENS = 384
PACKAGES = ("onnxruntime", "tokenizers", "numpy")
QUESTION = "Who was the last keeper?"

# Runs in a process of its own: what a program with ONNX Runtime and tokenizers does for one question.
PEER = r"""
import sys
sys.tracebacklimit = 0  # What fails is a file that was named, or a package that is missing: one line says which.
import numpy as np
import onnxruntime as ort
from tokenizers import Tokenizer
graph, tokenizer, threads, question, path = sys.argv[1:]
tokenizer = Tokenizer.from_file(tokenizer)
options = ort.SessionOptions()
options.intra_op_num_threads = int(threads)
options.inter_op_num_threads = 1
session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
ids = tokenizer.encode(question, open(path, encoding="utf-8").read()).ids[:%d]
ids = np.array([ids], np.int64)
inputs = {i.name: {"input_ids": ids, "attention_mask": np.ones_like(ids)}.get(i.name, np.zeros_like(ids))
          for i in session.get_inputs()}
session.run(None, inputs)
print(ids.shape[1])
""" % TOKENS


class Failed(Exception):
    """Something could not be measured; says why."""


def run(command, stdin=b"", fail=True):
    """Runs a command to its end and says what it cost."""
    started = time.monotonic()
    try:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except OSError as reason:
        raise Failed(f"cannot start {command[0]}: {reason.strerror}") from None
    try:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(stdin)
            process.stdin.close()
        private = 0
        while True:
            try:
                with open(f"/proc/{process.pid}/status", encoding="ascii", errors="replace") as status:
                    for line in status:
                        if line.startswith("RssAnon:"):
                            private = max(private, int(line.split()[1]) * 1024)
            except OSError:
                pass
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            time.sleep(0.001)
    except KeyboardInterrupt:
        process.kill()
        process.wait()
        raise
    wall = time.monotonic() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    output, errors = process.stdout.read(), process.stderr.read()
    if process.returncode and fail:
        name = " ".join(map(str, command[:2]))
        raise Failed(f"{name} failed ({process.returncode}): {errors.decode(errors='replace').strip()[-2000:]}")
    return {
        "peak": usage.ru_maxrss * 1024,
        "private": private,
        "minor_faults": usage.ru_minflt,
        "major_faults": usage.ru_majflt,
        "cpu_ms": (usage.ru_utime + usage.ru_stime) * 1e3,
        "wall_ms": wall * 1e3,
        "read": usage.ru_inblock * 512,
        "code": process.returncode,
        "output": output.decode(errors="replace"),
        "errors": errors.decode(errors="replace"),
    }


def medians(command, runs, before=lambda: None, stdin=b""):
    """The medians of several runs; the largest of the memory figures."""
    results = []
    for _ in range(runs):
        before()
        results.append(run(command, stdin))
    summary = {key: statistics.median(r[key] for r in results) for key in results[0] if key not in ("output", "errors")}
    summary |= {key: max(r[key] for r in results) for key in ("peak", "private")}
    return summary, results[0]["output"]


def drop(path):
    """Drops a file from the page cache."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@contextlib.contextmanager
def group(mebibytes):
    """A control group with a limit: yields what starts a command in it, and how much was used at most."""
    with open("/proc/self/cgroup", encoding="ascii") as file:
        groups = [line.rstrip().split(":", 2) for line in file]
    new = next((path for number, names, path in groups if number == "0" and not names), None)
    old = next((path for _, names, path in groups if "memory" in names.split(",")), None)
    root = pathlib.Path("/sys/fs/cgroup")
    if old is not None:
        parents, limit, peak = [root / "memory" / old[1:]], "memory.limit_in_bytes", "memory.max_usage_in_bytes"
        swap, swapped = "memory.memsw.limit_in_bytes", str(mebibytes << 20)
    else:
        folder = root / (new or "/")[1:]
        parents, limit, peak = [folder, *folder.parents], "memory.max", "memory.peak"
        swap, swapped = "memory.swap.max", "0"
    for parent in parents:
        folder = parent / f"edgeqa-memory-{os.getpid()}"
        try:
            folder.mkdir()
        except OSError:
            continue
        try:
            (folder / limit).write_text(str(mebibytes << 20))
        except OSError:
            folder.rmdir()
            continue
        with contextlib.suppress(OSError):
            (folder / swap).write_text(swapped)
        try:
            enter = 'echo $$ >"$1" || exit 126; shift; exec "$@"'
            yield ["sh", "-c", enter, "sh", folder / "cgroup.procs"], lambda: int((folder / peak).read_text())
        finally:
            folder.rmdir()
        return
    raise Failed(f"no control group of {mebibytes} MiB can be made here; run memory.py as root or in a delegated group, or without --limits")


def try_group(mebibytes):
    """Makes a control group, runs a program in it and removes it."""
    try:
        with group(mebibytes) as (enter, peak):
            # The shell's code if it cannot enter; one that the limit ends was in.
            if run([*enter, "true"], fail=False)["code"] == 126:
                raise Failed("no program can enter a control group here; run memory.py as root or in a delegated group, or without --limits")
            peak()
    except OSError as reason:
        raise Failed(f"cannot use a control group here: {reason}; run memory.py without --limits") from None


def files(args):
    """What was run: sums of the files, and versions of the peers' packages."""
    described = {
        name: {"file": path.name, "bytes": path.stat().st_size, "sha256": host.sha256(path)}
        for name, path in ((name, getattr(args, name)) for name in ("edgeqa", "model", "onnx", "int8", "tokenizer", "peers"))
        if path
    }
    versions = {}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return {"files": described, "versions": versions if args.tokenizer else {}}


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    # Defaults that are text go through `type`, too.
    edgeqa, model = str(ROOT / "target/release/edgeqa"), str(ROOT / "models/demo/model.safetensors")
    parser.add_argument("--edgeqa", type=edgeqa_program, default=edgeqa, metavar="FILE", help="the program [default: the release build]")
    parser.add_argument("--model", type=readable, default=model, metavar="FILE", help="edgeqa's model file [default: the demo model]")
    parser.add_argument("--onnx", type=readable, metavar="FILE", help="the fp32 graph; needs --tokenizer or --peers")
    parser.add_argument("--int8", type=readable, metavar="FILE", help="its int8 form, as onnxruntime.quantization.quantize_dynamic makes it")
    parser.add_argument("--tokenizer", type=readable, metavar="FILE", help="tokenizer.json for ONNX Runtime")
    parser.add_argument("--peers", type=peers_program, metavar="FILE", help=f"the program of benches/peers, such as {BUILT.relative_to(ROOT)}")
    parser.add_argument("--limits", type=limits, default=[], metavar="MIB,..", help="MiB, such as 96,64 or 96M,64M")
    parser.add_argument("--threads", type=positive, default=1, metavar="N", help="threads of one inference [default: 1]")
    parser.add_argument("--runs", type=positive, default=5, metavar="N", help="runs of each candidate [default: 5]")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--out", type=pathlib.Path, metavar="FILE", help="write a record, such as benches/record/CPU/DATE-memory.json")
    args = parser.parse_args()
    for name in ("onnx", "int8"):
        if getattr(args, name) and not (args.tokenizer or args.peers):
            parser.error(f"--{name} needs --tokenizer, which measures ONNX Runtime, or --peers, which measures rten")
    for name in ("tokenizer", "peers"):
        if getattr(args, name) and not (args.onnx or args.int8):
            parser.error(f"--{name} needs a graph: --onnx, --int8 or both")
    missing = [package for package in PACKAGES if importlib.util.find_spec(package) is None]
    if args.tokenizer and missing:
        parser.error(f"--tokenizer needs Python packages that {sys.executable} has not; install them with: pip install {' '.join(missing)}")
    return args


def readable(text):
    file = pathlib.Path(text)
    if not file.is_file() or not os.access(file, os.R_OK):
        raise argparse.ArgumentTypeError(f"{text} is no file that can be read")
    return file


def program(text, build):
    """A file, or else a command of PATH."""
    found = shutil.which(pathlib.Path(text).absolute()) or shutil.which(text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text} is no program; build it with: {build}")
    return pathlib.Path(found)


def edgeqa_program(text):
    return program(text, "cargo build --release")


def peers_program(text):
    return program(text, "cargo build --release --manifest-path benches/peers/Cargo.toml")


def limits(text):
    """`96,64` or `96M,64M`, in that order."""
    found = []
    for part in text.split(","):
        number = part.removesuffix("M")
        if not number.isdecimal() or int(number) == 0:
            raise argparse.ArgumentTypeError(f"{part!r} is no number of MiB, such as 64 or 64M")
        found.append(int(number))
    return found


def main():
    args = parse()
    # What would fail at the end fails here, before anything is measured.
    out = place(None, args.out) if args.out else None
    try:
        for mebibytes in args.limits:
            try_group(mebibytes)
    except Failed as reason:
        sys.exit(f"memory.py: error: {reason}")
    begun = {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "edgeqa": host.commit(ROOT),
        "host": host.facts(),
        "load average": os.getloadavg(),
        **(files(args) if out else {}),
    }
    found = {"tokens": TOKENS, "threads": args.threads, "runs": args.runs, "rows": {}, "limits": {}}
    failed = measure(args, found)
    if failed:
        measured = (args.edgeqa, args.model, args.onnx, args.int8, args.tokenizer, args.peers, pathlib.Path(sys.executable))
        found["failed"] = {name: without_folders(reason, *filter(None, measured)) for name, reason in failed.items()}
    if not found["rows"]:
        sys.exit("\n".join(f"memory.py: error: {name}: {reason}" for name, reason in failed.items()))
    # Nothing is lost if nobody reads the table.
    try:
        if args.json:
            print(json.dumps(found, indent=1))
        else:
            report(found)
    finally:
        if out:
            write(begun | found, out)
    if failed:
        sys.exit("\n".join(f"memory.py: error: {name} was not measured: {reason}" for name, reason in failed.items()))


def measure(args, found):
    """Fills the rows and limits of `found`; returns why others are not there, by name."""
    source = (ROOT / "models/demo/texts/lighthouse.txt").read_text(encoding="utf-8")
    source += (ROOT / "models/demo/texts/bees.txt").read_text(encoding="utf-8")
    text = pathlib.Path(os.environ.get("TMPDIR", "/tmp")) / f"edgeqa-memory-{os.getpid()}.txt"
    threads = str(args.threads)
    rows, failed = found["rows"], {}

    def ask(*more, context=("--context-file", text)):
        return [args.edgeqa, "ask", QUESTION, *context, "--model", args.model, "--threads", threads, "--json", *more]

    def row(name, command, **more):
        try:
            rows[name], output = medians(command, args.runs, **more)
            return output
        except (Failed, OSError) as reason:
            failed[name] = str(reason)

    def uncached():
        drop(args.model)

    try:
        cut(source, text, ask())
        short = ask(context=("--context", "The last keeper was Jonas Ekdahl."))
        row("edgeqa", ask())
        row("edgeqa, file not in the page cache", ask(), before=uncached)
        row("edgeqa, 16 tokens: the start", short)
        row("edgeqa, 16 tokens, not in the cache", short, before=uncached)
        row("edgeqa --prefault", ask("--prefault"))
        for name, graph in (("ONNX Runtime fp32 + tokenizers", args.onnx), ("ONNX Runtime int8 + tokenizers", args.int8)):
            if graph and args.tokenizer:
                tokens = row(name, [sys.executable, "-c", PEER, graph, args.tokenizer, threads, QUESTION, text])
                if tokens:
                    rows[name]["tokens"] = int(tokens)
        for name, graph in (("rten fp32, no tokenizer", args.onnx), ("rten int8, no tokenizer", args.int8)):
            if graph and args.peers:
                row(name, [args.peers, "rten", "--model", graph, "--threads", threads], stdin=f"{TOKENS} 1\n".encode())
        for mebibytes in args.limits:
            try:
                with group(mebibytes) as (enter, peak):
                    uncached()
                    result = run(enter + ask(*[QUESTION] * 4), fail=False)
                    found["limits"][str(mebibytes)] = {"used": peak(), "answers": len(result.pop("output").splitlines()), **result}
            except (Failed, OSError) as reason:
                failed[f"limit {mebibytes} MiB"] = str(reason)
    except (Failed, OSError) as reason:
        failed["edgeqa"] = str(reason)
    except KeyboardInterrupt:
        failed["the rest"] = "interrupted"
    finally:
        text.unlink(missing_ok=True)
    return failed


def cut(source, text, command):
    """Writes to the file `text` the longest beginning of `source` that is still one window for edgeqa, which `command` asks."""
    low, high = 1, len(source)
    while low < high:
        middle = (low + high + 1) // 2
        text.write_text(source[:middle], encoding="utf-8")
        try:
            one = json.loads(run(command)["output"])["windows"] == 1
        except (ValueError, KeyError, TypeError):
            raise Failed(f"{command[0]} does not answer as edgeqa does; name another program with --edgeqa") from None
        low, high = (middle, high) if one else (low, middle - 1)
    text.write_text(source[:low], encoding="utf-8")


def report(found):
    print(f"one question over {TOKENS} tokens, {found['threads']} thread(s), {found['runs']} runs")
    print(f"{'':38}{'peak':>10}{'private':>10}{'faults':>14}{'cpu':>10}{'wall':>10}")
    for name, row in found["rows"].items():
        faults = f"{row['minor_faults']:.0f}+{row['major_faults']:.0f}"
        print(f"{name:38}{row['peak'] / 1e6:>7.1f} MB{row['private'] / 1e6:>7.1f} MB{faults:>14}"
              f"{row['cpu_ms']:>7.0f} ms{row['wall_ms']:>7.0f} ms")

    for mebibytes, row in found["limits"].items():
        print(f"limit {mebibytes:>3} MiB: {row['answers']} of 5 answers, {row['used'] / 1e6:.1f} MB used, {row['read'] / 1e6:.0f} MB "
              f"read, {row['minor_faults']}+{row['major_faults']} faults, {row['cpu_ms']:.0f} ms cpu, {row['wall_ms']:.0f} ms wall")
        if row["code"]:
            print(f"  ended with {row['code']}: {row['errors'].strip()}")


if __name__ == "__main__":
    main()
