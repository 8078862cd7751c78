#!/usr/bin/env python3
"""Computes all figures of a record of edgeqa bench again, from its raw times and with Python's standard library alone.

usage: tests/tools/check_bench.py RECORD.json...      (what edgeqa bench --out or --json writes)
"""
import json
import math
import statistics
import sys


def percentile(times, percent):
    """As statistics.quantiles(method='inclusive') defines it."""
    return statistics.quantiles(times, n=100, method="inclusive")[percent - 1] if len(times) > 1 else times[0]


def close(name, found, want):
    assert math.isclose(found, want, rel_tol=1e-9, abs_tol=1e-15), f"{name}: the record says {found}, computed is {want}"


def check(name, runs):
    """Compares the summary of one point; returns how many figures were compared."""
    times = [time for process in runs["seconds"] for time in process]
    if not times:
        assert runs["summary"] is None, f"{name}: figures without times"
        return 0
    want = {
        "min": min(times), "max": max(times), "mean": statistics.fmean(times),
        "p50": statistics.median(times), "p90": percentile(times, 90), "p99": percentile(times, 99),
        "deviation": statistics.stdev(times) if len(times) > 1 else 0.0,
    }
    assert runs["summary"]["runs"] == len(times), name
    for key, value in want.items():
        close(f"{name}: {key}", runs["summary"][key], value)
    if "tokens" in runs:
        close(f"{name}: tokens_per_second", runs["tokens_per_second"], runs["tokens"] / want["p50"])
    else:
        close(f"{name}: per_second", runs["per_second"], len(times) / math.fsum(times))
    memory = runs["memory"]
    if memory:
        assert memory["peak"] >= memory["resident"] >= memory["pss"] > 0, name
        assert memory["resident"] >= memory["private_dirty"] > 0, name
    return len(want) + 2


for path in sys.argv[1:] or sys.exit(__doc__):
    record = json.load(open(path))
    assert record["format"] == "edgeqa-bench" and record["format_version"] == 1, path
    figures = sum(check(f"{p['tokens']} tokens, {p['threads']} threads", p) for p in record["points"])
    figures += sum(check(f"questions, {p['threads']} threads", p) for p in record["questions"])
    assert figures, f"{path} holds no figures"
    print(f"{path}: {figures} figures of {len(record['points']) + len(record['questions'])} points agree with their raw times")
