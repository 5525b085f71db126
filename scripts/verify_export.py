#!/usr/bin/env python3
"""Checks an exported gpt-oss checkpoint with Hugging Face transformers on the CPU.

    python scripts/verify_export.py DIR --logits FILE

Three checks, in this order:

1. Files: config.json, index and shards agree; every tensor the configuration calls for is there
   with its element type and shape, and no other; `_blocks` come before their `_scales`.
2. Loading: `GptOssForCausalLM.from_pretrained(DIR)` in float32 reports no missing, unexpected or
   mismatched key.
3. Numbers: the logits of transformers are those in FILE up to a tolerance.

FILE is a safetensors file with two tensors:

    input_ids  I64  [batch, len]          token ids, no padding
    logits     F32  [batch, len, vocab]   what our own reload of DIR computed for them

Without --logits, transformers runs on a few tokens and its logits must be finite.

Versions this was written for, and how to get them (CPU only, Python 3.11):

    pip install torch==2.12.1 --index-url https://download.pytorch.org/whl/cpu
    pip install transformers==5.23.0 safetensors==0.8.0 numpy==2.4.6

transformers dequantizes MXFP4 experts to dense matrices on a CPU, so a model needs 4 bytes of
memory per parameter: 84 GB for gpt-oss-20b. Meant for small models; `--files-only` stops after the
first check and needs no torch.
"""

import argparse
import json
import struct
import sys
from pathlib import Path

DTYPE_BYTES = {"U8": 1, "BF16": 2, "F16": 2, "F32": 4, "I64": 8}


class Failure(Exception):
    """A check that did not hold."""


def require(holds, message):
    if not holds:
        raise Failure(message)


def read_header(path):
    """Tensors of a safetensors file in the order of their data: (name, dtype, shape, n_bytes)."""
    size = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(8)
        require(len(prefix) == 8, f"{path}: no safetensors file, only {size} bytes")
        (length,) = struct.unpack("<Q", prefix)
        require(8 + length <= size, f"{path}: the header of {length} bytes exceeds the file")
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    entries = sorted(header.items(), key=lambda item: item[1]["data_offsets"])
    tensors, offset = [], 0
    for name, info in entries:
        start, end = info["data_offsets"]
        n_bytes = DTYPE_BYTES.get(info["dtype"], 0)
        for dim in info["shape"]:
            n_bytes *= dim
        require(start == offset, f"{path}: {name} starts at {start}, expected {offset}")
        require(end - start == n_bytes, f"{path}: {name} has {end - start} bytes, expected {n_bytes}")
        tensors.append((name, info["dtype"], info["shape"], n_bytes))
        offset = end
    found = size - 8 - length
    require(found == offset, f"{path}: {found} bytes of data, the header lists {offset}")
    return tensors


def expected_tensors(config, packed):
    """Name -> (dtype, shape) of every tensor the configuration calls for."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    experts, vocab = config["num_local_experts"], config["vocab_size"]
    heads = config["num_attention_heads"]
    query, key = (heads * config["head_dim"], config["num_key_value_heads"] * config["head_dim"])
    tensors = {
        "model.embed_tokens.weight": ("BF16", [vocab, hidden]),
        "model.norm.weight": ("BF16", [hidden]),
        "lm_head.weight": ("BF16", [vocab, hidden]),
    }
    for i in range(config["num_hidden_layers"]):
        layer = {
            "input_layernorm.weight": [hidden],
            "post_attention_layernorm.weight": [hidden],
            "self_attn.q_proj.weight": [query, hidden],
            "self_attn.q_proj.bias": [query],
            "self_attn.k_proj.weight": [key, hidden],
            "self_attn.k_proj.bias": [key],
            "self_attn.v_proj.weight": [key, hidden],
            "self_attn.v_proj.bias": [key],
            "self_attn.o_proj.weight": [hidden, query],
            "self_attn.o_proj.bias": [hidden],
            "self_attn.sinks": [heads],
            "mlp.router.weight": [experts, hidden],
            "mlp.router.bias": [experts],
            "mlp.experts.gate_up_proj_bias": [experts, 2 * inner],
            "mlp.experts.down_proj_bias": [experts, hidden],
        }
        tensors |= {f"model.layers.{i}.{name}": ("BF16", shape) for name, shape in layer.items()}
        for name, width, out in [("gate_up_proj", hidden, 2 * inner), ("down_proj", inner, hidden)]:
            path = f"model.layers.{i}.mlp.experts.{name}"
            if packed:
                require(width % 32 == 0, f"config.json: {width} inputs of {path} are no multiple of 32")
                tensors[f"{path}_blocks"] = ("U8", [experts, out, width // 32, 16])
                tensors[f"{path}_scales"] = ("U8", [experts, out, width // 32])
            else:
                tensors[path] = ("BF16", [experts, width, out])
    return tensors


def check_config(config):
    """Whether the experts are packed, after checking what loaders dispatch on."""
    require(config.get("model_type") == "gpt_oss", "config.json: model_type is not gpt_oss")
    architectures = config.get("architectures")
    require(architectures == ["GptOssForCausalLM"], f"config.json: architectures is {architectures}")
    quantization = config.get("quantization_config")
    if quantization is None:
        return False
    method = quantization.get("quant_method")
    require(method == "mxfp4", f"config.json: quant_method is {method}, expected mxfp4")
    kept = set(quantization.get("modules_to_not_convert") or [])
    wanted = {"model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"}
    require(kept == wanted, f"config.json: modules_to_not_convert is {sorted(kept)}")
    return True


def read_tensors(directory):
    """All tensors in file order, index and shards compared: (name, dtype, shape, n_bytes)."""
    index = directory / "model.safetensors.index.json"
    if not index.exists():
        return read_header(directory / "model.safetensors"), 1
    document = json.loads(index.read_text())
    weight_map = document["weight_map"]
    shards = sorted(set(weight_map.values()))
    present = sorted(path.name for path in directory.glob("*.safetensors"))
    require(shards == present, f"{index}: lists the files {shards}, the directory has {present}")
    tensors = []
    for shard in shards:
        found = read_header(directory / shard)
        names = {name for name, *_ in found}
        listed = {name for name, file in weight_map.items() if file == shard}
        require(names == listed, f"{index}: differs from {shard} in {sorted(names ^ listed)[:4]}")
        tensors += found
    total = sum(n_bytes for *_, n_bytes in tensors)
    stated = document["metadata"]["total_size"]
    require(stated == total, f"{index}: total_size is {stated}, the tensors have {total} bytes")
    return tensors, len(shards)


def check_files(directory):
    """The first check; returns the configuration."""
    config = json.loads((directory / "config.json").read_text())
    packed = check_config(config)
    tensors, n_shards = read_tensors(directory)
    expected = expected_tensors(config, packed)
    found = {name: (dtype, shape) for name, dtype, shape, _ in tensors}
    require(len(found) == len(tensors), "a tensor is stored twice")
    missing, unknown = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    require(not missing, f"{len(missing)} tensors are missing: {missing[:4]}")
    require(not unknown, f"{len(unknown)} tensors are unknown: {unknown[:4]}")
    for name, wanted in expected.items():
        require(found[name] == wanted, f"{name} is {found[name]}, expected {wanted}")
    order = {name: place for place, (name, *_) in enumerate(tensors)}
    for name, place in order.items():
        if name.endswith("_blocks"):
            scales = f"{name.removesuffix('_blocks')}_scales"
            require(place < order[scales], f"{name} comes after {scales}")
    total = sum(n_bytes for *_, n_bytes in tensors)
    form = "MXFP4" if packed else "BF16"
    print(f"files: {len(tensors)} tensors, {total} bytes, {n_shards} file(s), experts in {form}")
    return config


def load_model(directory):
    """The second check; returns the model."""
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    model, info = transformers.GptOssForCausalLM.from_pretrained(
        directory, dtype=torch.float32, output_loading_info=True, local_files_only=True
    )
    for kind in ["missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"]:
        require(not info.get(kind), f"transformers reports {kind}: {sorted(info.get(kind) or [])[:4]}")
    # The quantizer dequantizes to BF16, which holds every MXFP4 value exactly.
    model = model.float().eval()
    wrong = [name for name, value in model.named_parameters() if value.dtype != torch.float32]
    require(not wrong, f"not in float32 after loading: {wrong[:4]}")
    n_parameters = sum(value.numel() for value in model.parameters())
    print(f"loading: transformers {transformers.__version__}, {n_parameters} parameters, no key amiss")
    return model


def check_logits(model, file, tolerance):
    """The third check."""
    import torch
    from safetensors.torch import load_file

    data = load_file(file)
    keys = sorted(data)
    require(keys == ["input_ids", "logits"], f"{file}: has {keys}, expected input_ids and logits")
    ids, ours = data["input_ids"], data["logits"]
    require(ids.dtype == torch.int64 and ids.dim() == 2, f"{file}: input_ids must be I64 [batch, len]")
    shape = [*ids.shape, model.config.vocab_size]
    require(ours.dtype == torch.float32, f"{file}: logits are {ours.dtype}, expected float32")
    require(list(ours.shape) == shape, f"{file}: logits are {list(ours.shape)}, expected {shape}")
    with torch.no_grad():
        theirs = model(input_ids=ids, use_cache=False).logits
    require(bool(torch.isfinite(ours).all()), f"{file}: logits are not finite")
    deviation = (ours - theirs).abs()
    same = (ours.argmax(-1) == theirs.argmax(-1)).float().mean().item()
    print(
        f"numbers: {ids.numel()} tokens, largest logit {theirs.abs().max():.3f}, "
        f"max deviation {deviation.max():.3e}, mean {deviation.mean():.3e}, same top token {same:.2%}"
    )
    require(deviation.max().item() < tolerance, f"the deviation exceeds the tolerance {tolerance}")


def check_runs(model):
    """In place of the third check: the model computes something."""
    import torch

    ids = torch.arange(8).unsqueeze(0) % model.config.vocab_size
    with torch.no_grad():
        logits = model(input_ids=ids, use_cache=False).logits
    require(bool(torch.isfinite(logits).all()), "transformers computes logits that are not finite")
    print("numbers: no --logits given; logits of transformers are finite")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dir", type=Path, help="exported checkpoint directory")
    parser.add_argument("--logits", type=Path, help="safetensors file with input_ids and logits")
    parser.add_argument("--tolerance", type=float, default=2e-4, help="largest deviation of a logit")
    parser.add_argument("--files-only", action="store_true", help="stop after the first check")
    args = parser.parse_args()
    try:
        check_files(args.dir)
        if not args.files_only:
            model = load_model(args.dir)
            if args.logits:
                check_logits(model, args.logits, args.tolerance)
            else:
                check_runs(model)
    except (Failure, OSError, KeyError, json.JSONDecodeError) as error:
        sys.exit(f"{args.dir}: {type(error).__name__}: {error}")
    print("ok")


if __name__ == "__main__":
    main()
