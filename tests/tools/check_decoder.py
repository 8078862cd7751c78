#!/usr/bin/env python3
"""Decode the cached fp32 logits of `edgeqa-quantize compare` again, and compare the answers text for text.

usage: check_decoder.py --out DIR --squad FILE --tokenizer tokenizer.json [--cache FILE]
                        [--max-seq-len 384] [--doc-stride 128] [--max-answer-len 30]

needs: pip install numpy safetensors tokenizers

DIR is what `compare --out DIR` wrote. The questions, their order and the threshold are read from there, and so is the place
of the logits, unless --cache names their file (the report only names it if that run found it there).

This is the decoder of Hugging Face's SQuAD 2.0 scripts (`utils_qa.py`, `postprocess_qa_predictions` with
`version_2_with_negative`), written on its own: windows come from the tokenizers package (truncation="only_second"), scores
are numpy's float32, ranks those of numpy.argsort and of Python's stable sort. It departs from the scripts as edgeqa's does:
spans lose white space at both ends, and without any span with text there is no answer. The exit code is 1 if any answer, or
any null odds, differ.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file
from tokenizers import Tokenizer

N_BEST = 20


def windows_of(tokenizer, question, context, max_seq_len, doc_stride):
    """Per window the character range of each token of the context, and None for all others."""
    tokenizer.no_truncation()
    length = len(tokenizer.encode(question, add_special_tokens=False).ids)
    room = max_seq_len - length - tokenizer.num_special_tokens_to_add(is_pair=True)
    stride = min(doc_stride, room // 2)
    tokenizer.enable_truncation(max_seq_len, stride=stride, strategy="only_second")
    first = tokenizer.encode(question, context)
    windows = [first, *first.overflowing]
    # The package does not promise an order.
    windows.sort(key=lambda w: min(o[0] for o, s in zip(w.offsets, w.sequence_ids) if s == 1))
    return [[o if s == 1 else None for o, s in zip(w.offsets, w.sequence_ids)] for w in windows]


def highest(scores):
    # A stable sort, so that ties are decided: of equal scores the later position comes first.
    return [int(i) for i in np.argsort(scores, kind="stable")[-1 : -N_BEST - 1 : -1]]


def decode(windows, starts, ends, context, threshold, max_answer_len):
    """The answer and the null odds."""
    null_score, candidates = None, []
    for ranges, start, end in zip(windows, starts, ends):
        score = start[0] + end[0]
        if null_score is None or score < null_score:
            null_score = score
        for i in highest(start):
            for j in highest(end):
                if ranges[i] is None or ranges[j] is None or j < i or j - i + 1 > max_answer_len:
                    continue
                text = context[ranges[i][0] : ranges[j][1]].strip()
                candidates.append((start[i] + end[j], text, start[i], end[j]))
    candidates.sort(key=lambda candidate: candidate[0], reverse=True)
    # Null is last in the scripts' list, too, so that it ranks after equal scores; it is added back if it was cut off.
    kept = sorted([*candidates, (null_score, None, None, None)], key=lambda c: c[0], reverse=True)[:N_BEST]
    best = next((c for c in kept if c[1]), None)
    if best is None:
        return "", null_score
    null_odds = null_score - best[2] - best[3]
    return ("" if threshold is not None and null_odds > threshold else best[1]), null_odds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--squad", required=True, type=Path)
    parser.add_argument("--tokenizer", required=True, type=Path)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--max-seq-len", type=int, default=384)
    parser.add_argument("--doc-stride", type=int, default=128)
    parser.add_argument("--max-answer-len", type=int, default=30)
    args = parser.parse_args()

    report = json.loads((args.out / "report.json").read_text(encoding="utf-8"))
    threshold = report["comparison"]["null_threshold"]
    cache = args.cache or report["fp32_model"]["cached"]
    if cache is None:
        parser.error("the report names no file of logits: give it with --cache, or compare once more")
    logits = load_file(cache)
    predictions = json.loads((args.out / "fp32" / "predictions.json").read_text(encoding="utf-8"))
    null_odds = json.loads((args.out / "fp32" / "null_odds.json").read_text(encoding="utf-8"))
    data = json.loads(args.squad.read_text(encoding="utf-8-sig"))["data"]
    questions = {
        qa["id"]: (qa["question"], paragraph["context"])
        for article in data
        for paragraph in article["paragraphs"]
        for qa in paragraph["qas"]
    }
    if len(logits["windows"]) != len(predictions):
        sys.exit(f"logits of {len(logits['windows'])} questions, predictions of {len(predictions)}")

    tokenizer = Tokenizer.from_file(str(args.tokenizer))
    tokenizer.no_padding()
    ends_at = np.cumsum(logits["window_len"], dtype=np.int64)
    window, mismatches, several = 0, 0, 0
    for (name, expected), count in zip(predictions.items(), logits["windows"]):
        question, context = questions[name]
        windows = windows_of(tokenizer, question, context, args.max_seq_len, args.doc_stride)
        lengths = [int(length) for length in logits["window_len"][window : window + count]]
        if [len(w) for w in windows] != lengths:
            print(f"{name}: windows of {[len(w) for w in windows]} tokens, the cache has {lengths}")
            mismatches += 1
            window += int(count)
            continue
        parts = [slice(ends_at[window + w] - length, ends_at[window + w]) for w, length in enumerate(lengths)]
        starts, ends = [logits["start"][p] for p in parts], [logits["end"][p] for p in parts]
        window += int(count)
        several += count > 1
        text, odds = decode(windows, starts, ends, context, threshold, args.max_answer_len)
        if text != expected or np.float32(odds) != np.float32(null_odds[name]):
            mismatches += 1
            print(f"{name}: {text!r} ({odds}) here, {expected!r} ({null_odds[name]}) in the file: {question}")
    total = len(predictions)
    print(f"{total - mismatches} of {total} questions equal in text and null odds; {several} have several windows")
    return 1 if mismatches else 0


if __name__ == "__main__":
    sys.exit(main())
