#!/usr/bin/env python3
"""Write the tiny DeBERTa-v2/v3 question-answering exports under tests/fixtures/exports.

Every variant is `DebertaV2ForQuestionAnswering` with seeded random weights, exported to ONNX the way
some real tool chain does it. Two virtual environments are needed, one for each transformers major
version (Python 3.11, CPU is enough; these are the versions the committed fixtures were made with):

    python3.11 -m venv venv-tf4
    venv-tf4/bin/pip install torch==2.9.1 transformers==4.57.6 optimum-onnx==0.1.0 onnx==1.23.2 \
        onnxscript==0.7.2 onnxruntime==1.32.0 onnxslim==0.1.98 onnxsim==0.8.1
    python3.11 -m venv venv-tf5
    venv-tf5/bin/pip install torch==2.15.0 transformers==5.23.0 onnx==1.23.2 onnxscript==0.7.2 \
        onnxruntime==1.32.0

Run it once in each of them, version 4 first (it also writes the weights that version 5 reads):

    venv-tf4/bin/python tests/tools/make_exports.py --out tests/fixtures/exports
    venv-tf5/bin/python tests/tools/make_exports.py --out tests/fixtures/exports

`--variants NAME,NAME,...` makes only the variants whose name starts with one of those. What comes out:

    index.json           one entry per variant: folder, exporter, versions, opset, hf folder, expect
    tokenizer.json       a WordPiece tokenizer of 101 entries that fits every variant
    <config>-hf/         the same weights as a Hugging Face folder (model.safetensors, config.json)
    <variant>/           model.onnx (and model.onnx.data), config.json, expected.json

expected.json holds seeded inputs (attention mask all ones) and the logits of PyTorch in fp32.
"""

import argparse
import importlib.metadata
import json
import shutil
import string
import tempfile
import warnings
import zlib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
import transformers
from transformers import DebertaV2Config, DebertaV2ForQuestionAnswering

TF_MAJOR = int(transformers.__version__.split(".")[0])
LENGTHS = (1, 2, 5, 17, 40, 64)

BASE = dict(
    vocab_size=120, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
    hidden_act="gelu", max_position_embeddings=64, max_relative_positions=-1, position_buckets=16,
    relative_attention=True, norm_rel_ebd="layer_norm", share_att_key=True, pos_att_type="p2c|c2p",
    position_biased_input=False, type_vocab_size=0, layer_norm_eps=1e-7, pad_token_id=0,
)

# What each weight set changes in BASE. "fp16" has the weights of "base" rounded to half precision.
CONFIGS = {
    "base": {},
    "fp16": {},
    "odd": dict(vocab_size=101, hidden_size=36, num_attention_heads=3, intermediate_size=50),
    "pos": dict(position_biased_input=True),
    "types": dict(type_vocab_size=2),
    "noshare": dict(share_att_key=False),
    "c2p": dict(pos_att_type="c2p"),
    "p2c": dict(pos_att_type="p2c"),
    "noshare-c2p": dict(share_att_key=False, pos_att_type="c2p"),
    "noshare-p2c": dict(share_att_key=False, pos_att_type="p2c"),
    "nopos": dict(pos_att_type=[]),
    "norel": dict(relative_attention=False),
    "norel-nopos": dict(relative_attention=False, pos_att_type=[]),
    "nonorm": dict(norm_rel_ebd="none"),
    "maxrel24": dict(position_buckets=-1, max_relative_positions=24),
    "nobuckets": dict(position_buckets=-1),
    "bucket8": dict(position_buckets=8, max_relative_positions=48),
    "layers1": dict(num_hidden_layers=1),
    "layers3": dict(num_hidden_layers=3, layer_norm_eps=1e-5),
    "heads2": dict(num_attention_heads=2),
    "heads8": dict(num_attention_heads=8),
    "square": dict(intermediate_size=32, vocab_size=101),
    "mix": dict(position_biased_input=True, type_vocab_size=2, share_att_key=False, norm_rel_ebd="none"),
    "conv3": dict(conv_kernel_size=3, conv_act="gelu"),
    "embproj": dict(embedding_size=24),
    "gelunew": dict(hidden_act="gelu_new"),
}

# name: (transformers major, exporter, config, exporter options, expect)
VARIANTS = {
    "ts4-op17": (4, "ts", "base", dict(opset=17, pos_att_string=True), "convert"),
    "ts4-op14": (4, "ts", "base", dict(opset=14), "convert"),
    "ts4-op17-nofold": (4, "ts", "base", dict(opset=17, fold=False), "convert"),
    "ts4-op14-nofold": (4, "ts", "base", dict(opset=14, fold=False), "convert"),
    "ts4-op17-external": (4, "ts", "base", dict(opset=17, post="external"), "convert"),
    "ts4-op17-ttids-unused": (4, "ts", "base", dict(opset=17, ttids=True), "convert"),
    "ts4-op17-static40": (4, "ts", "base", dict(opset=17, static=40), "convert"),
    "dynamo4": (4, "dynamo", "base", {}, "convert"),
    "dynamo4-external": (4, "dynamo", "base", dict(external=True), "convert"),
    "dynamo4-ttids-unused": (4, "dynamo", "base", dict(ttids=True), "convert"),
    "dynamo4-noopt": (4, "dynamo", "base", dict(optimize=False), "refuse"),
    "dynamo4-mix": (4, "dynamo", "mix", dict(ttids=True), "convert"),
    "dynamo4-odd": (4, "dynamo", "odd", {}, "convert"),
    "optimum4": (4, "optimum", "base", {}, "convert"),
    "optimum4-types": (4, "optimum", "types", {}, "convert"),
    "ort-basic": (4, "ts", "base", dict(opset=17, post="ort_basic"), "convert"),
    "ort-basic-op14": (4, "ts", "base", dict(opset=14, post="ort_basic"), "convert"),
    "ort-extended": (4, "ts", "base", dict(opset=17, post="ort_extended"), "refuse"),
    "fp16": (4, "ts", "fp16", dict(opset=17, post="fp16"), "refuse"),
    "onnxslim": (4, "ts", "base", dict(opset=17, post="onnxslim"), "convert"),
    "onnxsim": (4, "ts", "base", dict(opset=17, post="onnxsim"), "convert"),
    "int8-dynamic": (4, "ts", "base", dict(opset=17, post="int8"), "refuse"),
    "ts5-op17": (5, "ts", "base", dict(opset=17), "convert"),
    "ts5-op14": (5, "ts", "base", dict(opset=14), "convert"),
    "ts5-op17-mix": (5, "ts", "mix", dict(opset=17, ttids=True), "convert"),
    "dynamo5": (5, "dynamo", "base", {}, "convert"),
    "dynamo5-mix": (5, "dynamo", "mix", dict(ttids=True), "convert"),
}
REFUSED_CONFIGS = {"conv3", "embproj", "gelunew"}
VARIANTS.update({
    f"cfg-{c}": (4, "ts", c, dict(opset=17), "refuse" if c in REFUSED_CONFIGS else "convert")
    for c in CONFIGS if c not in ("base", "fp16")
})


def seeded_weights(model, seed):
    """Weights large enough that a wrong sign, a swap or a missed bias shows in the logits."""
    gen = torch.Generator().manual_seed(seed)
    state = model.state_dict()
    for name in sorted(state):
        t = state[name]
        if not t.is_floating_point():
            continue
        noise = torch.randn(t.shape, generator=gen)
        if "LayerNorm.weight" in name:
            t.copy_(1 + 0.2 * noise)
        elif name.endswith("bias"):
            t.copy_(0.2 * noise)
        elif "embeddings" in name:  # words, positions, token types, relative positions
            t.copy_(noise)
        else:
            t.copy_(noise * (0.2 if t.dim() == 2 else 0.15))


def build_model(config_name, out):
    """The model of one config; its weights come from (or go to) the Hugging Face folder."""
    hf = out / f"{config_name}-hf"
    if (hf / "model.safetensors").exists():
        model = DebertaV2ForQuestionAnswering.from_pretrained(hf)
    else:
        model = DebertaV2ForQuestionAnswering(DebertaV2Config(**{**BASE, **CONFIGS[config_name]}))
        seed_name = "base" if config_name == "fp16" else config_name
        seeded_weights(model, zlib.crc32(seed_name.encode()))
        if config_name == "fp16":
            model.half()
        model.save_pretrained(hf)
    return model.float().eval(), hf


def example_inputs(config, length, batch, ttids, seed):
    rng = np.random.default_rng([seed, length])
    draw = lambda low, high: torch.from_numpy(rng.integers(low, high, (batch, length), dtype=np.int64))
    inputs = {"input_ids": draw(1, config.vocab_size)}
    inputs["attention_mask"] = torch.ones(batch, length, dtype=torch.int64)
    if ttids:
        inputs["token_type_ids"] = draw(0, max(config.type_vocab_size, 1))
    return inputs


def export_ts(model, path, inputs, opset, fold=True, static=None, **_):
    names = list(inputs)
    axes = None if static else {n: {0: "batch", 1: "sequence"} for n in names + ["start_logits", "end_logits"]}
    torch.onnx.export(
        model, (), str(path), kwargs=inputs, input_names=names, output_names=["start_logits", "end_logits"],
        dynamic_axes=axes, opset_version=opset, do_constant_folding=fold, dynamo=False,
    )


def export_dynamo(model, path, inputs, external=False, optimize=True, **_):
    torch.onnx.export(
        model, (), str(path), kwargs=inputs, input_names=list(inputs), output_names=["start_logits", "end_logits"],
        dynamic_shapes={n: {0: "batch", 1: "sequence"} for n in inputs}, dynamo=True, external_data=external, optimize=optimize,
        verbose=False,
    )


def export_optimum(hf, path):
    from optimum.exporters.onnx import main_export
    with tempfile.TemporaryDirectory() as tmp:
        main_export(str(hf), output=tmp, task="question-answering", library_name="transformers", do_validation=False)
        shutil.copy(Path(tmp) / "model.onnx", path)


def post_process(kind, path):
    """Rewrite the graph at `path` with another tool."""
    if kind == "external":
        onnx.save_model(onnx.load(path), path, save_as_external_data=True, location="model.onnx.data", size_threshold=0)
    elif kind in ("ort_basic", "ort_extended"):
        opts = ort.SessionOptions()
        level = ort.GraphOptimizationLevel
        opts.graph_optimization_level = level.ORT_ENABLE_BASIC if kind == "ort_basic" else level.ORT_ENABLE_EXTENDED
        opts.optimized_model_filepath = str(path) + ".opt"
        ort.InferenceSession(str(path), opts, providers=["CPUExecutionProvider"])
        Path(str(path) + ".opt").replace(path)
    elif kind == "fp16":
        # onnxconverter-common 1.16.0 leaves Cast(to=float) nodes behind that ORT rejects; ORT's own copy works.
        from onnxruntime.transformers.float16 import convert_float_to_float16
        onnx.save(convert_float_to_float16(onnx.load(path), keep_io_types=True), path)
    elif kind == "onnxslim":
        import onnxslim
        onnx.save(onnxslim.slim(onnx.load(path)), path)
    elif kind == "onnxsim":
        import onnxsim
        onnx.save(onnxsim.simplify(onnx.load(path))[0], path)
    elif kind == "int8":
        from onnxruntime.quantization import quantize_dynamic
        quantize_dynamic(str(path), str(path) + ".q")
        Path(str(path) + ".q").replace(path)


def strip(message):
    """Clear doc strings and metadata (stack traces, module paths) at every level; nothing structural."""
    for field, value in message.ListFields():
        if field.name in ("doc_string", "metadata_props"):
            message.ClearField(field.name)
        elif field.message_type is not None:
            for m in value if not hasattr(value, "ListFields") else [value]:
                strip(m)


def write_expected(model, path, ttids, seed):
    cases = []
    for length in LENGTHS:
        inputs = example_inputs(model.config, length, 1, ttids, seed)
        with torch.no_grad():
            o = model(**inputs)
        case = {"length": length, "input_ids": inputs["input_ids"][0].tolist()}
        if ttids and model.config.type_vocab_size > 0:
            case["token_type_ids"] = inputs["token_type_ids"][0].tolist()
        case["start_logits"] = [float(f"{x:.9g}") for x in o.start_logits[0].tolist()]
        case["end_logits"] = [float(f"{x:.9g}") for x in o.end_logits[0].tolist()]
        cases.append(case)
    lines = ",\n".join("  " + json.dumps(c) for c in cases)
    path.write_text('{"attention_mask": "all ones", "cases": [\n' + lines + "\n]}\n")
    return cases


def check_with_ort(path, cases):
    """(max abs difference from PyTorch, lengths that ran); the difference is None where none ran."""
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = {i.name for i in session.get_inputs()}
    worst, ran = None, []
    for case in cases:
        ids = np.array([case["input_ids"]], dtype=np.int64)
        feed = {"input_ids": ids, "attention_mask": np.ones_like(ids),
                "token_type_ids": np.array([case.get("token_type_ids", [0] * ids.size)], dtype=np.int64)}
        try:
            start, end = session.run(["start_logits", "end_logits"], {k: v for k, v in feed.items() if k in names})
        except Exception:  # a frozen sequence length
            continue
        diff = max(np.abs(start[0] - case["start_logits"]).max(), np.abs(end[0] - case["end_logits"]).max())
        worst, ran = max(worst or 0.0, float(diff)), ran + [case["length"]]
    return worst, ran, sorted(names)


def make_variant(name, out):
    _, exporter, config_name, opts, expect = VARIANTS[name]
    folder = out / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    path = folder / "model.onnx"
    model, hf = build_model(config_name, out)
    ttids = opts.get("ttids", False) or model.config.type_vocab_size > 0
    seed = zlib.crc32(config_name.encode())
    if exporter == "optimum":
        export_optimum(hf, path)
    else:
        example = example_inputs(model.config, opts.get("static") or 13, 1 if opts.get("static") else 2, ttids, seed)
        {"ts": export_ts, "dynamo": export_dynamo}[exporter](model, path, example, **opts)
    if "post" in opts:
        post_process(opts["post"], path)
    proto = onnx.load(path, load_external_data=False)
    strip(proto)
    path.write_bytes(proto.SerializeToString(deterministic=True))

    model.config.save_pretrained(folder)
    if opts.get("pos_att_string"):  # as the published DeBERTa-v3 configs spell it
        config = json.loads((folder / "config.json").read_text())
        config["pos_att_type"] = "|".join(config["pos_att_type"])
        (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    cases = write_expected(model, folder / "expected.json", ttids, seed)
    worst, ran, names = check_with_ort(path, cases)
    packages = ["torch", "transformers", "onnx", "onnxruntime"]
    packages += {"dynamo": ["onnxscript"], "optimum": ["optimum", "optimum-onnx"]}.get(exporter, [])
    packages += [opts["post"]] if opts.get("post") in ("onnxslim", "onnxsim") else []
    entry = {
        "folder": name, "exporter": exporter, "post": opts.get("post"), "expect": expect, "hf": hf.name,
        "opset": {o.domain or "ai.onnx": o.version for o in proto.opset_import}, "inputs": names,
        "external_data": (folder / "model.onnx.data").exists(), "ort_max_abs_diff": worst,
        "versions": {p: importlib.metadata.version(p) for p in packages},
    }
    if ran != list(LENGTHS):
        entry["fixed_length"] = ran[0] if len(ran) == 1 else ran
    return entry


def write_tokenizer(path):
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    words = "the of in is who what when where was to and year city river king war".split()
    chars = string.ascii_lowercase + string.digits
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *chars, *("##" + c for c in chars), *".,?!'-()", *words]
    tok = Tokenizer(models.WordPiece({w: i for i, w in enumerate(vocab)}, unk_token="[UNK]"))
    assert tok.get_vocab_size() <= 101
    tok.add_special_tokens(vocab[:5])
    tok.normalizer = normalizers.BertNormalizer(lowercase=True)
    tok.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tok.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    tok.save(str(path))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--variants", default="", help="comma-separated name prefixes; default: all of this venv's")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    args.out.mkdir(parents=True, exist_ok=True)
    write_tokenizer(args.out / "tokenizer.json")
    index_path = args.out / "index.json"
    index = json.loads(index_path.read_text()) if index_path.exists() else {}
    for name, row in VARIANTS.items():
        if row[0] != TF_MAJOR or not name.startswith(tuple(args.variants.split(","))):
            continue
        try:
            index[name] = make_variant(name, args.out)
        except Exception as e:  # one exporter failing must not lose the others
            shutil.rmtree(args.out / name, ignore_errors=True)
            print(f"{name}: FAILED: {type(e).__name__}: {e}", flush=True)
            continue
        size = sum(f.stat().st_size for f in (args.out / name).glob("model.onnx*")) // 1024
        print(f"{name}: {size} KiB, ort_max_abs_diff {index[name]['ort_max_abs_diff']}", flush=True)
        index_path.write_text(json.dumps(dict(sorted(index.items())), indent=1) + "\n")


if __name__ == "__main__":
    main()
