#!/usr/bin/env python3
"""Measure edgeqa beside ONNX Runtime and rten on the same model: interleaved, one process each.

Prints Markdown tables to standard output and progress to standard error, and writes everything to a JSON record. That of an
earlier run is replaced only if --out names it.
Needs Python 3.11 with onnxruntime, onnx and numpy, and the built worker: cargo build --release --manifest-path benches/peers/Cargo.toml
"""
import argparse
import datetime
import json
import os
import pathlib
import statistics
import subprocess
import sys

import host
import tables
from worker import Worker, WorkerFailed

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BUILT = HERE / "target" / "release" / "edgeqa-peers"
EDGEQA = "edgeqa"
PROGRAM = pathlib.Path(sys.argv[0]).name


def main():
    args = parse()
    machine = host.facts()
    out = place(args.out, ROOT / "benches" / "record" / host.slug(machine["cpu"]["model"]) / f"{today()}.json")
    int8 = args.int8_onnx or args.onnx.with_suffix(".int8.onnx")
    if not int8.exists():
        quantise(args.onnx, int8)
    record = {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "host": machine,
        "load_before": os.getloadavg(),
        "edgeqa": host.commit(HERE),
        "models": {role: describe(path) for role, path in zip(("edgeqa", "fp32", "int8"), (args.model, args.onnx, int8))},
        "rounds": args.rounds,
    }
    record["runs"] = [compare(args, int8, threads) for threads in args.threads]
    record["scaling"] = [scaling(record["runs"][0], run) for run in record["runs"][1:]]
    record["load_after"] = os.getloadavg()
    # Nothing is lost if nobody reads the tables.
    try:
        report(record)
    finally:
        write(record, out)
    if any(EDGEQA in run["failed"] for run in record["runs"]):
        sys.exit("compare.py: error: edgeqa was not measured everywhere; the tables say why")


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    path = pathlib.Path
    parser.add_argument("--onnx", type=path, required=True, metavar="FILE", help="the fp32 graph")
    parser.add_argument("--model", type=path, required=True, metavar="FILE", help="edgeqa's file of the same model")
    parser.add_argument("--int8-onnx", type=path, metavar="FILE", help="ONNX Runtime's dynamic int8 graph, made if missing [default: beside the fp32 graph]")
    parser.add_argument("--tokens", type=numbers, default=[64, 128, 256, 384, 512], metavar="N,..", help="lengths [default: 64,128,256,384,512]")
    parser.add_argument("--rounds", type=positive, default=15, metavar="N", help="measured inferences per runtime and length [default: 15]")
    parser.add_argument("--threads", type=numbers, default=[1], metavar="N,..", help="threads of one inference [default: 1]")
    parser.add_argument("--kernel", action="append", default=[], metavar="NAME", help="measure edgeqa with this kernel, too; can be repeated")
    parser.add_argument("--out", type=path, metavar="FILE", help="record [default: a new benches/record/CPU/DATE.json]")
    parser.add_argument("--worker", type=path, default=BUILT, metavar="FILE", help="the edgeqa-peers program [default: the release build]")
    args = parser.parse_args()
    for file in (args.onnx, args.model):
        if not file.is_file():
            parser.error(f"{file} is no file")
    if not args.worker.is_file():
        parser.error(f"{args.worker} is no file; build it with: cargo build --release --manifest-path benches/peers/Cargo.toml")
    return args


def positive(text):
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return int(text)


def numbers(text):
    """`1,2` in rising order."""
    return sorted({positive(part) for part in text.split(",")})


def quantise(fp32, int8):
    """Makes ONNX Runtime's dynamic int8 graph, in a process of its own; nothing is left behind if that fails."""
    say(f"making {int8}")
    part = int8.with_suffix(".part")
    code = (
        "import sys; from onnxruntime.quantization import quantize_dynamic, QuantType;"
        "quantize_dynamic(sys.argv[1], sys.argv[2], weight_type=QuantType.QInt8)"
    )
    done = subprocess.run([sys.executable, "-c", code, fp32, part], stdout=subprocess.DEVNULL)
    if done.returncode != 0:
        part.unlink(missing_ok=True)
        sys.exit(f"compare.py: error: {fp32} cannot be quantised; see above, or give --int8-onnx")
    part.rename(int8)


def place(out, default):
    """The file for the record: `out`, or else `default`, which must not be there yet. Ends the program if it cannot be written."""
    file = (out or default).resolve()
    try:
        if file.exists() and (out is None or not file.is_file()):
            sys.exit(f"{PROGRAM}: error: {file} is there already; name another file with --out")
        file.parent.mkdir(parents=True, exist_ok=True)
        part_of(file).touch()
        part_of(file).unlink()
    except OSError as reason:
        sys.exit(f"{PROGRAM}: error: cannot write {file}: {reason.strerror}; name another file with --out")
    return file


def write(record, file):
    """Replaces `file` by the whole record, or not at all."""
    part = part_of(file)
    try:
        part.write_text(json.dumps(record, indent=1) + "\n")
        part.replace(file)
    except OSError as reason:
        part.unlink(missing_ok=True)
        sys.exit(f"{PROGRAM}: error: cannot write {file}: {reason.strerror}")
    say(f"written to {file}")


def part_of(file):
    return file.with_name(f"{file.name}.part")


def describe(path):
    return {"file": path.name, "bytes": path.stat().st_size, "sha256": host.sha256(path)}


def vocabulary(model):
    """Number of tokens, from the metadata of edgeqa's file."""
    try:
        with open(model, "rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        return json.loads(header["__metadata__"]["config"])["vocab_size"]
    except (ValueError, KeyError, MemoryError, OverflowError):
        sys.exit(f"compare.py: error: {model} is no model file of edgeqa; edgeqa inspect says what is wrong with it")


def compare(args, int8, threads):
    """All runtimes with `threads` threads: every sample, and what follows from them."""
    workers, failed = start(args, int8, threads)
    samples = {worker.name: {} for worker in workers}
    peaks = {}
    for tokens in args.tokens:
        for done in range(args.rounds):
            say(f"threads {threads}, {tokens} tokens, round {done + 1} of {args.rounds}", end="\r")
            for worker in list(workers):
                try:
                    answer = worker.measure(tokens)
                except WorkerFailed as reason:
                    failed[worker.name] = f"{tokens} tokens: {reason}"
                    workers.remove(worker)
                    continue
                times = samples[worker.name].setdefault(str(tokens), {"wall_ms": [], "cpu_ms": []})
                for kind in times:
                    times[kind] += answer[kind]
                peaks[worker.name] = answer["peak_rss_mb"]
    say("")
    for worker in workers:
        worker.close()
    failed = {name: without_folders(reason, args.model, args.onnx, int8) for name, reason in failed.items()}
    metric = "cpu_ms" if threads == 1 else "wall_ms"
    runtimes = [summary(worker, samples[worker.name], peaks[worker.name], metric, args.tokens) for worker in workers]
    return {
        "threads": threads,
        "tokens": args.tokens,
        "metric": metric,
        "runtimes": runtimes,
        "ratios": ratios(runtimes, args.tokens, metric),
        "failed": failed,
    }


def without_folders(text, *files):
    """Records are published: they name files, not where these lie."""
    for file in files:
        text = text.replace(str(file), file.name)
    return text


def start(args, int8, threads):
    """The workers that came up, and why the others did not."""
    common = ["--threads", str(threads), "--vocabulary", str(vocabulary(args.model))]
    ort = [sys.executable, str(HERE / "ort_worker.py"), "--model"]
    rten = [str(args.worker), "rten", "--model"]
    own = [str(args.worker), "edgeqa", "--model", str(args.model)]
    wanted = [(EDGEQA, own, None)]
    wanted += [(f"{EDGEQA} {kernel}", own, kernel) for kernel in args.kernel]
    for name, command in (("ORT", ort), ("rten", rten)):
        wanted += [(f"{name} {kind}", [*command, str(file)], None) for kind, file in (("int8", int8), ("fp32", args.onnx))]
    workers, failed = [], {}
    for name, command, kernel in wanted:
        say(f"threads {threads}, loading {name}")
        try:
            worker = Worker(name, command + common, {"EDGEQA_KERNEL": kernel} if kernel else None)
        except WorkerFailed as reason:
            failed[name] = str(reason)
            continue
        if kernel and worker.hello["detail"] != kernel:
            worker.close()
            failed[name] = f"this CPU has no kernel of that name; edgeqa used {worker.hello['detail']}"
            continue
        workers.append(worker)
    return workers, failed


def summary(worker, samples, peak, metric, lengths):
    median = {tokens: statistics.median(times[metric]) for tokens, times in samples.items()}
    first, last = lengths[0], lengths[-1]
    return {
        "name": worker.name,
        "hello": {**worker.hello, "file": pathlib.Path(worker.hello["file"]).name},
        "peak_rss_mb": peak,
        "median": median,
        # Time per token at the longest length over that at the shortest: 1 if time is proportional to length.
        "growth": (median[str(last)] / last) / (median[str(first)] / first),
        "samples": samples,
    }


def ratios(runtimes, lengths, metric):
    """edgeqa's time divided by that of every other runtime, by length: the median over the rounds, in each of which the two ran
    one after the other. A machine that is slower for some seconds slows both."""
    samples = {runtime["name"]: runtime["samples"] for runtime in runtimes}
    own = samples.pop(EDGEQA, None)
    if own is None:
        return {}
    paired = lambda times, n: statistics.median(a / b for a, b in zip(own[n][metric], times[n][metric]))
    return {name: {str(n): paired(times, str(n)) for n in lengths} for name, times in samples.items()}


def scaling(few, many):
    """Wall time of the run with fewer threads divided by that of the run with more, by runtime and length."""
    wall = lambda run: {
        runtime["name"]: {n: statistics.median(times["wall_ms"]) for n, times in runtime["samples"].items()}
        for runtime in run["runtimes"]
    }
    before, after = wall(few), wall(many)
    speedup = lambda name: {n: before[name][n] / after[name][n] for n in after[name]}
    return {
        "from": few["threads"],
        "to": many["threads"],
        "tokens": many["tokens"],
        "runtimes": {name: speedup(name) for name in after if name in before},
    }


def report(record):
    machine, commit = record["host"], (record["edgeqa"] or {}).get("commit", "of an unknown commit")
    loads = " and ".join(f"{record[key][0]:.2f}" for key in ("load_before", "load_after"))
    blocks = [
        f"{machine['cpu']['model']}, {machine['cpus']} CPUs, {machine['kernel']}; load before and after {loads}",
        f"{record['date']}, edgeqa {commit}, {record['rounds']} rounds",
    ]
    for run in record["runs"]:
        blocks += [tables.versions(run), tables.medians(run), tables.fastest(run), tables.ratios(run), tables.failures(run)]
    blocks += [tables.scaling(scaling) for scaling in record["scaling"]]
    print("\n\n".join(filter(None, blocks)))


def today():
    return datetime.date.today().isoformat()


def say(text, end="\n"):
    print(f"{text:<60}", end=end, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
