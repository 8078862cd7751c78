#!/usr/bin/env python3
"""Write ONNX Runtime's logits of a QA graph on random token ids: the oracle of the fp32 and int8 paths.

usage: ort_logits.py MODEL.onnx OUT.json [--lengths 1,2,7,...] [--vocab 30522] [--seed 0]
Needs: pip install onnxruntime numpy. Output: {"model": file name, "sha256": of the model, "onnxruntime": version,
"cases": [{"input_ids": [...], "start": [...], "end": [...]}]}, logits rounded to 7 significant digits.
"""
import argparse
import hashlib
import json
import pathlib

import numpy as np
import onnxruntime as ort

p = argparse.ArgumentParser()
p.add_argument("model", type=pathlib.Path)
p.add_argument("out", type=pathlib.Path)
p.add_argument("--lengths", default="1,2,7,24,64,100,128,129,200,300,384,512")
p.add_argument("--vocab", type=int, default=30522)
p.add_argument("--seed", type=int, default=0)
a = p.parse_args()

session = ort.InferenceSession(str(a.model), providers=["CPUExecutionProvider"])
rng = np.random.default_rng(a.seed)
cases = []
for n in map(int, a.lengths.split(",")):
    ids = rng.integers(0, a.vocab, (1, n))
    start, end = session.run(None, {"input_ids": ids, "attention_mask": np.ones((1, n), np.int64)})[:2]
    digits = lambda x: [float(f"{v:.7g}") for v in x[0]]
    cases.append({"input_ids": ids[0].tolist(), "start": digits(start), "end": digits(end)})
sha256 = hashlib.sha256(a.model.read_bytes()).hexdigest()
golden = {"model": a.model.name, "sha256": sha256, "onnxruntime": ort.__version__, "cases": cases}
a.out.write_text(json.dumps(golden, separators=(",", ":")).replace("},{", "},\n{") + "\n")
