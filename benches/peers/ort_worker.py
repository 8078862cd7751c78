#!/usr/bin/env python3
"""ONNX Runtime behind the protocol of `edgeqa-peers`; see src/worker/mod.rs.

usage: ort_worker.py --model MODEL.onnx [--threads N] [--vocabulary N]
Prints a JSON line about itself, then reads lines "TOKENS RUNS" and prints a JSON line with the times of each.
Needs onnxruntime and numpy.
"""
import argparse
import json
import sys
import time

SPECIAL = 5


def memory_mb(field):
    """A field of /proc/self/status in MB, None where there is none."""
    try:
        with open("/proc/self/status") as status:
            lines = dict(line.split(":", 1) for line in status if ":" in line)
        return int(lines[field].split()[0]) / 1024
    except (OSError, KeyError):
        return None


def token_ids(tokens, vocabulary):
    """The ids that src/random.rs draws."""
    state, ids = 1, []
    for _ in range(tokens):
        state = (state * 1103515245 + 12345) % 2**31
        ids.append(SPECIAL + (state >> 8) % (vocabulary - SPECIAL))
    return ids


def load(model, threads):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that wait in a loop would take time from the other workers.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def feeds(session, tokens, vocabulary):
    import numpy as np

    values = {
        "input_ids": lambda: np.array([token_ids(tokens, vocabulary)], np.int64),
        "attention_mask": lambda: np.ones((1, tokens), np.int64),
        "token_type_ids": lambda: np.zeros((1, tokens), np.int64),
    }
    names = [node.name for node in session.get_inputs()]
    if unknown := sorted(set(names) - set(values)):
        sys.exit(f"ort_worker.py: error: the graph has inputs {unknown}; only {sorted(values)} can be filled in")
    return {name: values[name]() for name in names}


def measure(session, tokens, runs, vocabulary):
    inputs = feeds(session, tokens, vocabulary)
    session.run(None, inputs)
    wall_ms, cpu_ms = [], []
    for _ in range(runs):
        wall, cpu = time.perf_counter(), time.process_time()
        session.run(None, inputs)
        wall_ms.append(1e3 * (time.perf_counter() - wall))
        cpu_ms.append(1e3 * (time.process_time() - cpu))
    return {"tokens": tokens, "wall_ms": wall_ms, "cpu_ms": cpu_ms, "peak_rss_mb": memory_mb("VmHWM")}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--vocabulary", type=int, default=1000)
    args = parser.parse_args()

    import numpy  # noqa: F401  counted as Python's own memory, not the model's
    import onnxruntime

    hello = {"runtime": "onnxruntime", "version": onnxruntime.__version__, "detail": "CPU, no spinning"}
    hello |= {"file": args.model, "threads": args.threads, "base_rss_mb": memory_mb("VmRSS")}
    start = time.perf_counter()
    session = load(args.model, args.threads)
    hello["load_ms"] = 1e3 * (time.perf_counter() - start)
    print(json.dumps(hello), flush=True)
    for line in sys.stdin:
        try:
            tokens, runs = map(int, line.split())
        except ValueError:
            sys.exit(f"ort_worker.py: error: expected TOKENS RUNS and found {line!r}")
        print(json.dumps(measure(session, tokens, runs, args.vocabulary)), flush=True)


if __name__ == "__main__":
    main()
