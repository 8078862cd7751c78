#!/usr/bin/env python3
"""Makes tests/golden/bench_stats.json: numpy's figures of made-up times, which edgeqa bench's must equal.

usage: tests/tools/bench_stats.py > tests/golden/bench_stats.json
"""
import json

import numpy

random = numpy.random.default_rng(6)
samples = {
    "one": [0.25],
    "two": [3.0, 1.0],
    "ties": [2.0, 1.0, 2.0, 2.0, 1.0],
    "hundred and one": random.permutation(numpy.arange(101.0) + 1).tolist(),
    "lognormal": numpy.round(random.lognormal(-3, 0.2, 97), 9).tolist(),
    "with outliers": numpy.round(numpy.concatenate([random.normal(0.05, 0.001, 60), [0.4, 1.5]]), 9).tolist(),
}
cases = []
for name, times in samples.items():
    p50, p90, p99 = numpy.percentile(times, [50, 90, 99])
    cases.append({
        "name": name, "times": times, "min": min(times), "p50": p50, "p90": p90, "p99": p99, "max": max(times),
        "mean": numpy.mean(times), "deviation": numpy.std(times, ddof=1) if len(times) > 1 else 0.0,
    })
print("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]")
