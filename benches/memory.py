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

usage: memory.py --edgeqa target/release/edgeqa --model model.safetensors [--onnx model.onnx --tokenizer tokenizer.json]
                 [--int8 model.int8.onnx] [--peers edgeqa-peers] [--threads 1] [--runs 5] [--limits 96,64,48] [--json] [--out FILE]

--peers adds rten on the same graphs, by the worker of benches/peers: without a tokenizer, and two runs instead of one.
--out also writes a record: all figures, the machine, the commit, the sha256 of programs and models, and the versions of the peers.
--limits runs edgeqa in control groups of so many MiB, its model dropped from the page cache first, so that its pages count. Five questions
over the same text: what the first reads, the others read again if it did not fit. Needs to be root, or a delegated group.
"""
import argparse
import contextlib
import datetime
import importlib.metadata
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

TOKENS = 384
QUESTION = "Who was the last keeper?"

# Runs in a process of its own: what a program with ONNX Runtime and tokenizers does for one question.
PEER = r"""
import sys
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


def run(command, stdin=b"", fail=True):
    """Runs a command to its end and says what it cost."""
    started = time.monotonic()
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
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
    wall = time.monotonic() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    output, errors = process.stdout.read(), process.stderr.read()
    if process.returncode and fail:
        sys.exit(f"{' '.join(map(str, command[:2]))} failed ({process.returncode}): {errors.decode()[-2000:]}")
    return {
        "peak": usage.ru_maxrss * 1024,
        "private": private,
        "minor_faults": usage.ru_minflt,
        "major_faults": usage.ru_majflt,
        "cpu_ms": (usage.ru_utime + usage.ru_stime) * 1e3,
        "wall_ms": wall * 1e3,
        "read": usage.ru_inblock * 512,
        "code": process.returncode,
        "output": output.decode(),
        "errors": errors.decode(),
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
    sys.exit("--limits: no control group can be made here")


def files(args):
    """What was run: sums of the files, and versions of the peers' packages."""
    paths = {name: getattr(args, name) for name in ("edgeqa", "model", "onnx", "int8", "tokenizer", "peers")}
    described = {
        name: {"file": pathlib.Path(path).name, "bytes": os.path.getsize(path), "sha256": host.sha256(path)}
        for name, path in ((name, shutil.which(path) or path) for name, path in paths.items() if path)
    }
    versions = {}
    for package in ("onnxruntime", "tokenizers", "numpy"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return {"files": described, "versions": versions if args.tokenizer else {}}


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--edgeqa", default="target/release/edgeqa", help="the program")
    args.add_argument("--model", default="models/demo/model.safetensors", help="edgeqa's model file")
    args.add_argument("--onnx", help="the fp32 graph")
    args.add_argument("--int8", help="its int8 form, as onnxruntime.quantization.quantize_dynamic makes it")
    args.add_argument("--tokenizer", help="tokenizer.json for ONNX Runtime")
    args.add_argument("--peers", help="the program of benches/peers")
    args.add_argument("--limits", default="", help="MiB, separated by commas")
    args.add_argument("--threads", default="1")
    args.add_argument("--runs", type=int, default=5)
    args.add_argument("--json", action="store_true")
    args.add_argument("--out", type=pathlib.Path, metavar="FILE", help="write a record, such as benches/record/CPU/DATE-memory.json")
    args = args.parse_args()
    if args.out and args.out.exists():
        sys.exit(f"memory.py: {args.out} is there already; name another file with --out")
    begun = {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "edgeqa": host.commit(ROOT),
        "host": host.facts(),
        "load average": os.getloadavg(),
        # Before anything is measured: a file that is missing loses nothing.
        **(files(args) if args.out else {}),
    }
    source = (ROOT / "models/demo/texts/lighthouse.txt").read_text(encoding="utf-8")
    source += (ROOT / "models/demo/texts/bees.txt").read_text(encoding="utf-8")
    text = pathlib.Path(os.environ.get("TMPDIR", "/tmp")) / f"edgeqa-memory-{os.getpid()}.txt"

    def ask(*more):
        return [args.edgeqa, "ask", QUESTION, "--context-file", text, "--model", args.model, "--threads",
                args.threads, "--json", *more]

    try:
        # The longest beginning of the text that is still one window.
        low, high = 1, len(source)
        while low < high:
            middle = (low + high + 1) // 2
            text.write_text(source[:middle], encoding="utf-8")
            one = json.loads(run(ask())["output"])["windows"] == 1
            low, high = (middle, high) if one else (low, middle - 1)
        text.write_text(source[:low], encoding="utf-8")
        rows = {}
        rows["edgeqa"], _ = medians(ask(), args.runs)
        rows["edgeqa, file not in the page cache"], _ = medians(ask(), args.runs, lambda: drop(args.model))
        short = [args.edgeqa, "ask", QUESTION, "--context", "The last keeper was Jonas Ekdahl.", "--model", args.model,
                 "--threads", args.threads, "--json"]
        rows["edgeqa, 16 tokens: the start"], _ = medians(short, args.runs)
        rows["edgeqa, 16 tokens, not in the cache"], _ = medians(short, args.runs, lambda: drop(args.model))
        rows["edgeqa --prefault"], _ = medians(ask("--prefault"), args.runs)
        for name, graph in (("ONNX Runtime fp32 + tokenizers", args.onnx), ("ONNX Runtime int8 + tokenizers", args.int8)):
            if graph and args.tokenizer:
                command = [sys.executable, "-c", PEER, graph, args.tokenizer, args.threads, QUESTION, text]
                rows[name], tokens = medians(command, args.runs)
                rows[name]["tokens"] = int(tokens)
        for name, graph in (("rten fp32, no tokenizer", args.onnx), ("rten int8, no tokenizer", args.int8)):
            if graph and args.peers:
                command = [args.peers, "rten", "--model", graph, "--threads", args.threads]
                rows[name], _ = medians(command, args.runs, stdin=f"{TOKENS} 1\n".encode())
        limits = {}
        for mebibytes in filter(None, args.limits.split(",")):
            with group(int(mebibytes)) as (enter, peak):
                drop(args.model)
                result = run(enter + ask(*[QUESTION] * 4), fail=False)
                limits[mebibytes] = {"used": peak(), "answers": len(result.pop("output").splitlines()), **result}
    finally:
        text.unlink(missing_ok=True)
    found = {"tokens": TOKENS, "threads": int(args.threads), "runs": args.runs, "rows": rows, "limits": limits}
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(begun | found, indent=1) + "\n", encoding="utf-8")
    if args.json:
        print(json.dumps(found, indent=1))
        return
    print(f"one question over {TOKENS} tokens, {args.threads} thread(s), {args.runs} runs")
    print(f"{'':38}{'peak':>10}{'private':>10}{'faults':>14}{'cpu':>10}{'wall':>10}")
    for name, row in rows.items():
        faults = f"{row['minor_faults']:.0f}+{row['major_faults']:.0f}"
        print(f"{name:38}{row['peak'] / 1e6:>7.1f} MB{row['private'] / 1e6:>7.1f} MB{faults:>14}"
              f"{row['cpu_ms']:>7.0f} ms{row['wall_ms']:>7.0f} ms")

    for mebibytes, row in limits.items():
        print(f"limit {mebibytes:>3} MiB: {row['answers']} of 5 answers, {row['used'] / 1e6:.1f} MB used, {row['read'] / 1e6:.0f} MB "
              f"read, {row['minor_faults']}+{row['major_faults']} faults, {row['cpu_ms']:.0f} ms cpu, {row['wall_ms']:.0f} ms wall")
        if row["code"]:
            print(f"  ended with {row['code']}: {row['errors'].strip()}")


if __name__ == "__main__":
    main()
