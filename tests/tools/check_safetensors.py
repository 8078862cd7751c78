#!/usr/bin/env python3
"""Open an artifact with the reference safetensors package and check what the format promises.

usage: check_safetensors.py MODEL.safetensors [TOKENIZER.json]      needs: pip install safetensors numpy

With the tokenizer.json that the model was made with, its vocabulary must be the compiled one, piece by piece.
"""
import base64
import gzip
import hashlib
import json
import struct
import sys

import numpy as np
from safetensors import safe_open



def pieces(trie):
    """Every piece and its id; src/vocabulary/mod.rs describes the bytes."""
    number = lambda at, width: int.from_bytes(trie[at : at + width], "little")
    todo, found = [(0, b"")], []
    while todo:
        at, piece = todo.pop()
        header = trie[at]
        end, kind, count = header & 1, header >> 1 & 7, header >> 4
        at += 1
        if count == 0 and kind > 0:
            count = trie[at] + 1
            at += 1
        if end:
            found.append((piece, number(at, 3)))
            at += 3
        if kind == 1:
            todo.append((at + count, piece + trie[at : at + count]))
        elif kind == 2:
            found.append((piece + trie[at : at + count], number(at + count, 3)))
        elif kind > 2:
            width, places = kind - 2, at + count
            first = places + width * (count - 1)
            for i in range(count):
                place = number(places + width * (i - 1), width) if i > 0 else 0
                todo.append((first + place, piece + trie[at + i : at + i + 1]))
    return found


path = sys.argv[1]
raw = open(path, "rb").read()
(header_len,) = struct.unpack("<Q", raw[:8])
header = json.loads(raw[8 : 8 + header_len])
metadata = header.pop("__metadata__")
with safe_open(path, framework="numpy") as model:
    assert model.metadata() == metadata
    names = set(model.keys())
    assert names == set(header), "the package lists other tensors than the header"
    weights = [n for n in names if header[n]["dtype"] == "I8"]
    assert weights and all(model.get_tensor(n).min() > -128 for n in weights)
    assert all(np.isfinite(model.get_tensor(n)).all() for n in names if header[n]["dtype"] in ("F32", "F64"))
    original = json.load(open(sys.argv[2], encoding="utf-8")) if len(sys.argv) > 2 else None
    if "tokenizer.json.gz" in names:
        tokenizer = json.loads(gzip.decompress(model.get_tensor("tokenizer.json.gz").tobytes()))
        assert "model" in tokenizer and original in (None, tokenizer)
        vocabulary = "packed tokenizer"
    else:
        pipeline = json.loads(model.get_tensor("tokenizer.pipeline.json").tobytes())
        found = pieces(model.get_tensor("tokenizer.trie").tobytes())
        ids = {piece.decode(): id for piece, id in found}
        assert len(ids) == len(found) == len(set(ids.values())) == pipeline["model"]["size"]
        assert max(len(piece) for piece, _ in found) == pipeline["model"]["longest"]
        scores = [model.get_tensor(n) for n in ("tokenizer.scores", "tokenizer.scores_f64") if n in names]
        assert len(scores) == (pipeline["model"]["type"] == "Unigram")
        if original:
            vocab = original["model"]["vocab"]
            assert ids == (vocab if isinstance(vocab, dict) else {piece: id for id, (piece, _) in enumerate(vocab)})
            if scores:
                assert [score for _, score in vocab] == scores[0].tolist()
            if "tokenizer.charsmap" in names:
                steps = original["normalizer"].get("normalizers", [original["normalizer"]])
                maps = [step["precompiled_charsmap"] for step in steps if step["type"] == "Precompiled"]
                assert base64.b64decode(maps[0]) == model.get_tensor("tokenizer.charsmap").tobytes()
            assert all(pipeline[part] == original[part] for part in ("pre_tokenizer", "post_processor", "decoder"))
        vocabulary = f"{len(ids)} pieces" + (" as in tokenizer.json" if original else "")
for name, info in header.items():
    start = 8 + header_len + info["data_offsets"][0]
    assert name.endswith(".pad") or start % 64 == 0, f"{name} starts at {start}"
assert hashlib.sha256(raw[8 + header_len :]).hexdigest() == metadata["data_sha256"]
print(f"{path}: {len(names)} tensors, {metadata['format']} version {metadata['format_version']}, {vocabulary}, checksum and alignment right")
