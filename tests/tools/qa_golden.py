# Derived from transformers, examples/pytorch/question-answering/utils_qa.py:
# Copyright 2020 The HuggingFace Team All rights reserved.
#
# Licensed under the Apache License, Version 2.0 only (LICENSE-APACHE), unlike the rest of this repository. Changed from the original:
# `postprocess` does one example, without files, ranks equal logits stably, makes up no answer, and returns what the test reads; all else
# here is new.
"""Writes tests/golden/qa.json: windows by Hugging Face's Python tokenizers, and answers by a transcription of
`postprocess_qa_predictions` (transformers, examples/pytorch/question-answering/utils_qa.py) on made-up logits.

    pip install tokenizers numpy
    python tests/tools/qa_golden.py [--tokenizer FILE --vocab-size N] [--out FILE]

Run it from the root of the repository. `tests/qa_golden.rs` compares; with another tokenizer, point EDGEQA_QA_GOLDEN
at the file written.
"""

import argparse
import json

import numpy as np
from tokenizers import Tokenizer

LIGHTHOUSE = (
    "The lighthouse on Kelp Rock was lit in 1871. Its first keeper, Ada Morrow, climbed 212 steps every evening and "
    "kept a log of ships, storms and seals. In her ninth winter the lamp failed; she burned the furniture instead. "
)
# question, context, max_seq_len, stride, max_answer_len
CASES = [
    ("Who was the first keeper?", LIGHTHOUSE, 384, 128, 30),
    ("Who was the first keeper?", LIGHTHOUSE, 64, 20, 8),
    ("How many steps?", LIGHTHOUSE * 3, 48, 0, 30),
    ("When was it lit?", LIGHTHOUSE * 2, 60, 30, 1),
    ("seals", "seals", 384, 128, 30),
    ("  what\tis   it ? ", "   \n  leading spaces, and trailing ones   \r\n ", 40, 4, 5),
    ("Où est le café ?", "Le café « Zoé » est à l'angle — crème brûlée, e\u0301tude, ﬁn, Straße, İstanbul.", 50, 10, 12),
    ("灯台守は誰?", "灯台守は眠い。長い夜だった。", 24, 6, 4),
    ("Which emoji 🚀?", "A 👩‍🚀 waved 👋🏽 at the 🏳️‍🌈 and the 🦭🦭🦭; then ☕.", 40, 5, 6),
    ("من هو؟", "كان حارس المنارة متعباً في الليل.", 40, 8, 10),
    ("What is [SEP]?", "The markers [CLS] and [SEP] stand in the text, [MASK] too.", 48, 12, 6),
    ("zero\u200bwidth\u0000?", "soft\u00adhyphen and\u200bzero\ufeffwidth \u0007bell\u00a0nbsp\u3000wide", 44, 9, 7),
]


def random_logits(state, count):
    """Numbers that Rust can make too: a linear congruential generator, three decimals, exact in float32."""
    values = []
    for _ in range(count):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        values.append(np.float32((state >> 33) % 16001) / np.float32(1000) - np.float32(8))
    return state, np.array(values, dtype=np.float32)


def windows_of(tokenizer, question, context, max_seq_len, stride):
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokens = len(tokenizer.encode(context, add_special_tokens=False).ids)
    tokenizer.enable_truncation(max_seq_len, stride=stride, strategy="only_second")
    first = tokenizer.encode(question, context)
    encodings = [first, *first.overflowing]
    # Windows of a library that stops tokenizing early would miss the end of the text.
    last = [o for o, s in zip(encodings[-1].offsets, encodings[-1].sequence_ids) if s == 1][-1]
    tokenizer.no_truncation()
    assert last == tokenizer.encode(context, add_special_tokens=False).offsets[-1], tokens
    return encodings


def postprocess(features, all_start_logits, all_end_logits, context, max_answer_length, n_best_size=20):
    """`postprocess_qa_predictions` for one example, with `version_2_with_negative` and threshold 0."""
    min_null_prediction = None
    prelim_predictions = []
    for feature, start_logits, end_logits in zip(features, all_start_logits, all_end_logits):
        offset_mapping = [o if s == 1 else None for o, s in zip(feature.offsets, feature.sequence_ids)]
        feature_null_score = start_logits[0] + end_logits[0]
        if min_null_prediction is None or min_null_prediction["score"] > feature_null_score:
            min_null_prediction = {
                "offsets": (0, 0),
                "score": feature_null_score,
                "start_logit": start_logits[0],
                "end_logit": end_logits[0],
                "null": True,
            }
        # The original sorts with numpy's default, which leaves the order of equal values open.
        start_indexes = np.argsort(start_logits, kind="stable")[-1 : -n_best_size - 1 : -1].tolist()
        end_indexes = np.argsort(end_logits, kind="stable")[-1 : -n_best_size - 1 : -1].tolist()
        for start_index in start_indexes:
            for end_index in end_indexes:
                if (
                    start_index >= len(offset_mapping)
                    or end_index >= len(offset_mapping)
                    or offset_mapping[start_index] is None
                    or offset_mapping[end_index] is None
                ):
                    continue
                if end_index < start_index or end_index - start_index + 1 > max_answer_length:
                    continue
                prelim_predictions.append(
                    {
                        "offsets": (offset_mapping[start_index][0], offset_mapping[end_index][1]),
                        "score": start_logits[start_index] + end_logits[end_index],
                        "start_logit": start_logits[start_index],
                        "end_logit": end_logits[end_index],
                    }
                )
    prelim_predictions.append(min_null_prediction)
    null_score = min_null_prediction["score"]
    predictions = sorted(prelim_predictions, key=lambda x: x["score"], reverse=True)[:n_best_size]
    if not any(p["offsets"] == (0, 0) for p in predictions):
        predictions.append(min_null_prediction)
    for pred in predictions:
        pred["text"] = context[pred["offsets"][0] : pred["offsets"][1]]
    scores = np.array([pred["score"] for pred in predictions])
    exp_scores = np.exp(scores - np.max(scores))
    probs = exp_scores / exp_scores.sum()
    for prob, pred in zip(probs, predictions):
        pred["probability"] = prob
    best = next((p for p in predictions if p["text"] != ""), None)
    # The original invents the text "empty" when there is no candidate.
    score_diff = best and null_score - best["start_logit"] - best["end_logit"]
    answer = "" if best is None or score_diff > 0.0 else best["text"]
    return {
        "n_best": [
            {
                "chars": None if p.get("null") else list(p["offsets"]),
                "score": float(p["score"]),
                "probability": round(float(p["probability"]), 8),
            }
            for p in predictions
        ],
        "null_score": float(null_score),
        "null_odds": None if score_diff is None else float(score_diff),
        "answer": answer,
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--tokenizer", default="tests/fixtures/exports/tokenizer.json")
    parser.add_argument("--vocab-size", type=int, default=101)
    parser.add_argument("--out", default="tests/golden/qa.json")
    args = parser.parse_args()
    tokenizer = Tokenizer.from_file(args.tokenizer)
    cases = []
    for seed, (question, context, max_seq_len, stride, max_answer_len) in enumerate(CASES):
        encodings = windows_of(tokenizer, question, context, max_seq_len, stride)
        state, starts, ends = seed, [], []
        for encoding in encodings:
            state, logits = random_logits(state, len(encoding.ids))
            starts.append(logits)
            state, logits = random_logits(state, len(encoding.ids))
            ends.append(logits)
        windows = []
        for encoding in encodings:
            offsets = [list(o) for o, s in zip(encoding.offsets, encoding.sequence_ids) if s == 1]
            windows.append(
                {
                    "ids": encoding.ids,
                    "type_ids": encoding.type_ids,
                    "context_from": encoding.sequence_ids.index(1),
                    "context_chars": offsets,
                }
            )
        cases.append(
            {
                "question": question,
                "context": context,
                "max_seq_len": max_seq_len,
                "stride": stride,
                "max_answer_len": max_answer_len,
                "seed": seed,
                "windows": windows,
                **postprocess(encodings, starts, ends, context, max_answer_len),
            }
        )
    with open(args.out, "w", encoding="utf-8") as file:
        file.write('{"tokenizer": %s, "vocab_size": %d, "cases": [\n' % (json.dumps(args.tokenizer), args.vocab_size))
        file.write(",\n".join(json.dumps(case, ensure_ascii=True, separators=(",", ":")) for case in cases))
        file.write("\n]}\n")


main()
