#!/usr/bin/env python3
"""Train a Unigram vocabulary with SentencePiece and write it as a tokenizer.json with the pipeline of DeBERTa-v3.

usage: make_unigram.py OUT.json[.gz] TEXT... [--size 128000]      needs: pip install sentencepiece protobuf

tests/fixtures/unigram/tokenizer.json.gz was made with
    make_unigram.py tests/fixtures/unigram/tokenizer.json.gz --size 2000 quantize/calibration/default.txt models/demo/texts/*.txt

Pieces and scores are SentencePiece's, 32-bit as in its model files; so is the normaliser's character map (nmt_nfkc). Ids 0 to 3 are
[PAD], [CLS], [SEP] and [UNK]; [MASK] comes after all pieces, as in the published model.
"""
import argparse
import base64
import gzip
import json
import tempfile
from pathlib import Path

import sentencepiece
from sentencepiece import sentencepiece_model_pb2

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("out", type=Path)
parser.add_argument("text", nargs="+", help="text files, a sentence a line")
parser.add_argument("--size", type=int, default=128_000, help="number of pieces [default: %(default)s]")
parser.add_argument("--sentences", type=int, default=600_000, help="lines to train on, drawn at random [default: %(default)s]")
args = parser.parse_args()

with tempfile.TemporaryDirectory() as folder:
    prefix = f"{folder}/model"
    sentencepiece.SentencePieceTrainer.train(
        input=",".join(args.text), model_prefix=prefix, vocab_size=args.size, model_type="unigram", character_coverage=0.9995,
        input_sentence_size=args.sentences, shuffle_input_sentence=True, normalization_rule_name="nmt_nfkc",
        pad_id=0, bos_id=1, eos_id=2, unk_id=3, pad_piece="[PAD]", bos_piece="[CLS]", eos_piece="[SEP]", unk_piece="[UNK]",
        hard_vocab_limit=False, seed_sentencepiece_size=max(1_000_000, 4 * args.size), num_threads=2,
    )
    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString(Path(f"{prefix}.model").read_bytes())

special = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
vocab = [[piece.piece, piece.score] for piece in model.pieces]
assert [piece for piece, _ in vocab[:4]] == special


def added(id, content):
    return {"id": id, "content": content, "single_word": False, "lstrip": False, "rstrip": False,
            "normalized": content == "[UNK]", "special": True}


def named(id, type_id):
    return {"SpecialToken": {"id": id, "type_id": type_id}}


def sequence(id, type_id):
    return {"Sequence": {"id": id, "type_id": type_id}}


single = [named("[CLS]", 0), sequence("A", 0), named("[SEP]", 0)]
tokenizer = {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": [added(id, content) for id, content in [*enumerate(special), (len(vocab), "[MASK]")]],
    "normalizer": {
        "type": "Sequence",
        "normalizers": [
            {"type": "Strip", "strip_left": True, "strip_right": True},
            {"type": "Precompiled",
             "precompiled_charsmap": base64.b64encode(model.normalizer_spec.precompiled_charsmap).decode()},
            {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "},
        ],
    },
    "pre_tokenizer": {
        "type": "Sequence",
        "pretokenizers": [{"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}],
    },
    "post_processor": {
        "type": "TemplateProcessing",
        "single": single,
        "pair": [*single, sequence("B", 1), named("[SEP]", 1)],
        "special_tokens": {
            content: {"id": content, "ids": [id], "tokens": [content]} for id, content in [(1, "[CLS]"), (2, "[SEP]")]
        },
    },
    "decoder": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
    "model": {"type": "Unigram", "unk_id": 3, "vocab": vocab, "byte_fallback": False},
}
compact = args.out.suffix == ".gz"
separators, indent = ((",", ":"), None) if compact else (None, 2)
text = json.dumps(tokenizer, ensure_ascii=False, separators=separators, indent=indent).encode()
args.out.write_bytes(gzip.compress(text, 9, mtime=0) if compact else text)
print(f"{args.out}: {len(vocab)} pieces")
