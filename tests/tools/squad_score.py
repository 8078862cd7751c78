"""Writes tests/golden/squad_score.json: what the scoring rules of SQuAD 2.0 (`evaluate-v2.0.py`) make of made-up
questions, golds, predictions and null odds, with Python's own lower(), split(), `\\b` and sort.

    python tests/tools/squad_score.py [--out FILE]
    python tests/tools/squad_score.py --score DATA PREDICTIONS [NULL_ODDS [THRESHOLD]]

Run it from the root of the repository; it needs Python 3.7 to 3.11 (later ones add floats up in another way), and
nothing else. The second form prints the metrics of given files, to compare this transcription with the official script.
"""

import argparse
import json
import random
import re
import string
from collections import Counter

ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise(text):
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


def exact(gold, prediction):
    return int(normalise(gold) == normalise(prediction))


def f1(gold, prediction):
    golds, predicted = normalise(gold).split(), normalise(prediction).split()
    if not golds or not predicted:
        return int(golds == predicted)
    same = sum((Counter(golds) & Counter(predicted)).values())
    if same == 0:
        return 0
    precision, recall = same / len(predicted), same / len(golds)
    return (2 * precision * recall) / (precision + recall)


def summary(prefix, ids, exacts, f1s):
    total = len(ids)
    return {
        prefix + "exact": 100.0 * sum(exacts[i] for i in ids) / total,
        prefix + "f1": 100.0 * sum(f1s[i] for i in ids) / total,
        prefix + "total": total,
    }


def best(scores, has_answer, predictions, null_odds):
    score = highest = sum(not has for has in has_answer.values())
    threshold = 0.0
    for i in sorted(null_odds, key=lambda i: null_odds[i]):
        if i in scores:
            score += scores[i] if has_answer[i] else -1 if predictions[i] else 0
            if score > highest:
                highest, threshold = score, null_odds[i]
    return 100.0 * highest / len(scores), threshold


def metrics(squad, predictions, null_odds=None, threshold=None):
    questions = [q for article in squad["data"] for p in article["paragraphs"] for q in p["qas"]]
    has_answer = {q["id"]: bool(q["answers"]) for q in questions}
    raw_exact, raw_f1 = {}, {}
    for q in questions:
        golds = [a["text"] for a in q["answers"] if normalise(a["text"])] or [""]
        raw_exact[q["id"]] = max(exact(gold, predictions[q["id"]]) for gold in golds)
        raw_f1[q["id"]] = max(f1(gold, predictions[q["id"]]) for gold in golds)

    def thresholded(scores):
        if null_odds is None or threshold is None:
            return scores
        return {i: float(not has_answer[i]) if null_odds[i] > threshold else s for i, s in scores.items()}

    exacts, f1s = thresholded(raw_exact), thresholded(raw_f1)
    result = summary("", list(has_answer), exacts, f1s)
    for prefix, wanted in (("HasAns_", True), ("NoAns_", False)):
        ids = [i for i, has in has_answer.items() if has == wanted]
        if ids:
            result.update(summary(prefix, ids, exacts, f1s))
    if null_odds is not None:
        for name, scores in (("exact", raw_exact), ("f1", raw_f1)):
            result["best_" + name], result[f"best_{name}_thresh"] = best(scores, has_answer, predictions, null_odds)
    return result


# Each is worth a case of its own; they are also mixed with each other.
STRINGS = [
    "",
    "the",
    "A",
    " The  An a ",
    "an apple a day",
    "Theodore the_great and A_b",
    "the_",
    "_a",
    "a-b",
    "the-end",
    "U.S.A.",
    "a1 1a the2 a",
    "\u2018the\u2019 \u201ca\u201d \u2014an\u2014",
    "\u00bfthe? \u00a1a!",
    "caf\u00e9 the caf\u00e9",
    "a\u0301 the\u0301 an\u0308",
    "e\u0301tude \u00e9tude",
    "\u0130stanbul \u0130",
    "THE\u0130",
    "stra\u00dfe STRASSE \u1e9e",
    "\u03a3\u0391\u03a3 \u039f\u0394\u039f\u03a3 \u03a3 \u03a3.",
    "\u039f\u0394\u039f\u03a3'\u03a4\u0391 \u039f\u0394\u039f\u03a3\u00ad",
    "the\u1cbf \ua7ae\u10a0",
    "one\x1ctwo\x1dthe\x1ethree\x1ffour",
    "one\u00a0the\u00a0two",
    "one\u200bthe\u200btwo",
    "\u2003the\u2028a\u2029an\u3000\u1680\u0085",
    "zero\u200d\ufeffwidth\u2060the\u2060end",
    "tab\tnew\nline\rfeed\x0b\x0c.",
    "the\U0001f989 \U0001f989a an\u2615\ufe0f",
    "\U0001f469\u200d\U0001f680 a\u20e3 1\ufe0f\u20e3",
    "the\u0345 a\u24d0 a\u2170 a\u00b2 a\u00bd a\u0e31 \u093ea",
    "\u5317\u4eacthe\u5317 a\u4eac the \u4eac\u3002",
    "\u0661the \u0967a an\u0661",
    "\uff21 \uff54\uff48\uff45 the\uff0c\uff3f",
    "\u02bbthe a\u02bc the\u2019s",
    "$1,000.50 + 20% = #1 @home ~ ^ ` | \\ < >",
    "\u20ac5 \u00a35 \u00a7 the\u00a7a",
    "a.b,c!the?",
    "one one two two",
    "one two two three",
    "two one",
    "Na\u00efve the\u00af",
]


def text(rng):
    roll = rng.random()
    if roll < 0.2:
        return ""
    if roll < 0.6:
        return rng.choice(STRINGS)
    words = " ".join(rng.choice(STRINGS) for _ in range(2)).split(" ")
    rng.shuffle(words)
    return rng.choice([" ", "  ", "\u00a0", "\x1c", "-", "_"]).join(words[:4])


def case(rng, count, answerable, with_odds, threshold):
    questions, predictions, null_odds = [], {}, {}
    for n in range(count):
        golds = [text(rng) for _ in range(rng.randint(1, 3))] if rng.random() < answerable else []
        name = f"q{n:03}"
        questions.append({"id": name, "question": "?", "answers": [{"text": gold, "answer_start": 0} for gold in golds]})
        predictions[name] = rng.choice(golds) if golds and rng.random() < 0.6 else text(rng)
        # Few distinct values, so that the order of equal ones matters.
        lean = -2 if golds else 2
        null_odds[name] = round(rng.uniform(-4, 4) + lean, rng.choice([0, 0, 1, 3]))
    # The order of the files is not that of the questions, and they know more.
    names = [*predictions, "elsewhere"]
    rng.shuffle(names)
    predictions["elsewhere"], null_odds["elsewhere"] = "the other file", -9.5
    half = count // 2
    parts = [questions[:half], questions[half:]]
    squad = {"version": "v2.0", "data": [{"paragraphs": [{"context": "x", "qas": part}]} for part in parts if part]}
    null_odds = {name: null_odds[name] for name in names} if with_odds else None
    return {
        "squad": squad,
        "predictions": {name: predictions[name] for name in names},
        "null_odds": null_odds,
        "threshold": threshold,
        "metrics": metrics(squad, predictions, null_odds, threshold),
    }


def golden():
    rng = random.Random(2026)
    pairs = [(gold, prediction) for gold in STRINGS for prediction in (gold, rng.choice(STRINGS))]
    pairs += [(text(rng), text(rng)) for _ in range(60)]
    return {
        "normalised": [[s, normalise(s)] for s in STRINGS],
        "pairs": [{"gold": g, "prediction": p, "exact": exact(g, p), "f1": f1(g, p)} for g, p in pairs],
        "cases": [
            case(rng, 40, 0.5, False, None),
            case(rng, 40, 0.5, True, None),
            case(rng, 40, 0.5, True, 0.5),
            case(rng, 25, 1.0, True, -1.0),
            case(rng, 25, 0.0, True, 0.0),
            case(rng, 1, 1.0, True, 100.0),
            case(rng, 1, 0.0, False, None),
        ],
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", default="tests/golden/squad_score.json")
    parser.add_argument("--score", nargs="+", metavar="FILE")
    args = parser.parse_args()
    if args.score:
        files = [json.load(open(path, encoding="utf-8")) for path in args.score[:3]]
        print(json.dumps(metrics(*files, *map(float, args.score[3:])), indent=2))
        return
    lists = [
        '"%s": [\n%s\n]' % (name, ",\n".join(json.dumps(entry, separators=(",", ":")) for entry in entries))
        for name, entries in golden().items()
    ]
    with open(args.out, "w", encoding="utf-8") as file:
        file.write("{\n%s\n}\n" % ",\n".join(lists))


main()
