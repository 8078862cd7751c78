#!/usr/bin/env python3
"""Open an artifact with the reference safetensors package and check what the format promises.

usage: check_safetensors.py MODEL.safetensors      needs: pip install safetensors numpy
"""
import gzip
import hashlib
import json
import struct
import sys

import numpy as np
from safetensors import safe_open

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
    assert all(np.isfinite(model.get_tensor(n)).all() for n in names if header[n]["dtype"] == "F32")
    tokenizer = json.loads(gzip.decompress(model.get_tensor("tokenizer.json.gz").tobytes()))
    assert "model" in tokenizer
for name, info in header.items():
    start = 8 + header_len + info["data_offsets"][0]
    assert name.endswith(".pad") or start % 64 == 0, f"{name} starts at {start}"
assert hashlib.sha256(raw[8 + header_len :]).hexdigest() == metadata["data_sha256"]
print(f"{path}: {len(names)} tensors, {metadata['format']} version {metadata['format_version']}, checksum and alignment right")
