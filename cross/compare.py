#!/usr/bin/env python3
"""Compares what two runs of `edgeqa eval --out` answered.

usage: compare.py WANT GOT

Answers have to be the same. Logits of the candidates and null odds may differ by TOLERANCE: int8 products are exact everywhere, and the
kernels that are compared round a multiply-add of fp32 alike, but libraries of compilers may differ in last digits. Where a CPU rounds it
twice, activations are now and then rounded to another int8, and logits differ by tenths. Exit code: 0, or 1 if something differs by
more.
"""
import json
import pathlib
import sys

TOLERANCE = 1e-3


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    want, got = (pathlib.Path(argument) for argument in sys.argv[1:])
    read = lambda folder, name: json.loads((folder / name).read_text())
    problems = []
    answers, others = (read(folder, "predictions.json") for folder in (want, got))
    if not answers:
        problems.append("there are no questions")
    odds, other_odds = (read(folder, "null_odds.json") for folder in (want, got))
    lists, other_lists = (read(folder, "nbest_predictions.json") for folder in (want, got))
    if any(of.keys() != answers.keys() for of in (odds, lists, others, other_odds, other_lists)):
        problems.append("the questions are not the same in all files")
    problems += [f"{id} has no candidates" for id in lists if not lists[id]]
    problems += [f"{id}: {others.get(id)!r} instead of {answers[id]!r}" for id in answers if answers[id] != others.get(id)]
    differences = []
    differences += [(abs(odds[id] - other_odds.get(id, float("inf"))), f"{id}: null odds") for id in odds]
    for id in lists:
        # Candidates of nearly equal scores may change places, the last ones may change, and a text may be there more than once.
        for entry in lists[id][:5]:
            others = [other for other in other_lists.get(id, []) if other["text"] == entry["text"]]
            distance = lambda other: max(abs(entry[key] - other[key]) for key in ("start_logit", "end_logit"))
            differences.append((min(map(distance, others), default=float("inf")), f"{id}: logits of {entry['text']!r}"))
    problems += [f"{where} differs by {difference}" for difference, where in differences if not difference <= TOLERANCE]
    largest = max((difference for difference, _ in differences), default=0.0)
    print(f"{len(answers)} questions, {len(differences)} logits and odds: largest difference {largest:.3g}, allowed {TOLERANCE}")
    if problems:
        sys.exit("\n".join(["error:"] + problems[:20]))


if __name__ == "__main__":
    main()
