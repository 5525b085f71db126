#!/usr/bin/env python3
"""Reads converted checkpoints with the programs they are for, on the CPU.

    M=assets/tiny-gpt-oss
    for form in bf16 nvfp4 compressed-mxfp4 compressed-nvfp4 gguf; do
        cargo run --example convert -- $M --to $form --out /tmp/forms/$form
    done
    python scripts/verify_forms.py /tmp/forms

Every weight that a package decodes must have the bits of the BF16 form, but for the sign of zero:

- compressed-tensors' own compressors decompress the two per-expert forms;
- ModelOpt's NVFP4QTensor dequantizes the fused NVFP4 form;
- gguf's reader finds and dequantizes every tensor of the GGUF file.

    python scripts/verify_forms.py /tmp/forms --logits FILE

also compares llama.cpp's logits of the GGUF file with ours. FILE comes from `export_logits` on a copy of the model
whose config.json says `"truncate": true`, and the GGUF file from the same copy: llama.cpp rounds YaRN's bounds. It
multiplies with activations in 8 bits, so logits differ; the tokens must agree wherever the gap between our first and
second logit exceeds twice the largest difference.

Versions this was written for (CPU only, Python 3.11):

    pip install torch==2.12.1 --index-url https://download.pytorch.org/whl/cpu
    pip install compressed-tensors==0.20.0 nvidia-modelopt==0.47.0 gguf==0.19.0 safetensors==0.8.0
    pip install llama-cpp-python==0.3.36     # builds llama.cpp: half an hour on two cores
"""

import argparse
import json
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

warnings.filterwarnings("ignore")


def require(holds, message):
    if not holds:
        sys.exit(f"FAILED: {message}")


def tensors(directory):
    found = {}
    for file in sorted(directory.glob("*.safetensors")):
        found.update(load_file(file))
    return found


def same(name, theirs, ours):
    require(theirs.shape == ours.shape, f"{name}: {tuple(theirs.shape)} instead of {tuple(ours.shape)}")
    different = (theirs.float() != ours.float()).sum().item()
    require(different == 0, f"{name}: {different} of {ours.numel()} values differ")
    return ours.numel()


def expert(name, ours):
    """The values of one expert's layer `[out, in]`."""
    prefix, rest = name.split(".experts.")
    number, layer = rest.split(".")[:2]
    matrix, start, step = {
        "gate_proj": ("gate_up_proj", 0, 2),
        "up_proj": ("gate_up_proj", 1, 2),
        "down_proj": ("down_proj", 0, 1),
    }[layer]
    return ours[f"{prefix}.experts.{matrix}"][int(number)][:, start::step].T


def compressed(directory, ours):
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationConfig

    config = json.loads((directory / "config.json").read_text())["quantization_config"]
    scheme = QuantizationConfig.model_validate(config).config_groups["group_0"]
    compressor = BaseCompressor.get_value_from_registry(config["format"])
    stored, count = tensors(directory), 0
    for name in [name for name in stored if name.endswith(".weight_packed")]:
        layer = name.removesuffix("weight_packed")
        parts = {
            key.removeprefix(layer): value
            for key, value in stored.items()
            if key.startswith(layer) and not key.endswith(".bias")
        }
        count += same(name, compressor.decompress(parts, scheme)["weight"], expert(name, ours))
    return count


def modelopt(directory, ours):
    from modelopt.torch.quantization.qtensor.nvfp4_tensor import NVFP4QTensor

    stored, count = tensors(directory), 0
    for name in [name for name in stored if name.endswith("_weight_scale")]:
        matrix = name.removesuffix("_weight_scale")
        codes = stored[matrix].transpose(-2, -1).contiguous()
        scales = stored[name].transpose(-2, -1).contiguous()
        shape = (*codes.shape[:-1], 2 * codes.shape[-1])
        packed = NVFP4QTensor(shape, torch.float32, codes)
        values = packed.dequantize(
            dtype=torch.float32, scale=scales, double_scale=stored[name + "_2"], block_sizes={-1: 16}
        )
        count += same(matrix, values.transpose(-2, -1), ours[matrix])
    return count


LAYER = {
    "attn_norm": "input_layernorm",
    "post_attention_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate_inp": "mlp.router",
}
ENDS = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
EXPERTS = {"ffn_gate_exps": ("gate_up_proj", 0, 2), "ffn_up_exps": ("gate_up_proj", 1, 2), "ffn_down_exps": ("down_proj", 0, 1)}


def of_gguf(name, ours):
    if name in ENDS:
        return ours[ENDS[name]]
    _, layer, part, kind = name.split(".")
    prefix = f"model.layers.{layer}."
    if part == "attn_sinks":
        return ours[prefix + "self_attn.sinks"]
    if part in EXPERTS:
        matrix, start, step = EXPERTS[part]
        matrix = prefix + "mlp.experts." + matrix
        if kind == "bias":
            return ours[matrix + "_bias"][:, start::step]
        return ours[matrix][:, :, start::step].transpose(1, 2)
    return ours[prefix + LAYER[part] + "." + kind]


def gguf_file(path, ours):
    import gguf

    reader, count = gguf.GGUFReader(path), 0
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        shape = tuple(int(n) for n in reversed(tensor.shape))
        values = torch.from_numpy(np.array(values, dtype=np.float32).reshape(shape))
        count += same(tensor.name, values, of_gguf(tensor.name, ours))
    total = sum(value.numel() for value in ours.values())
    require(count == total, f"{count} of {total} weights are in the file")
    return count


def llama_logits(path, logits):
    import llama_cpp

    expected = load_file(logits)
    ids, ours = expected["input_ids"], expected["logits"].numpy()
    model = llama_cpp.Llama(str(path), n_ctx=ids.shape[1] + 8, logits_all=True, verbose=False, n_threads=2)
    largest, clear, agree = 0.0, 0, 0
    theirs = np.empty_like(ours)
    for row in range(ids.shape[0]):
        model.reset()
        model.eval(ids[row].tolist())
        theirs[row] = model.scores[: ids.shape[1]]
    largest = float(np.abs(theirs - ours).max())
    order = np.sort(ours, axis=-1)
    gap = order[..., -1] - order[..., -2]
    decided = gap > 2 * largest
    agree = theirs.argmax(-1) == ours.argmax(-1)
    print(
        f"llama.cpp: largest |logit| {np.abs(ours).max():.3f}, largest difference {largest:.4f}, "
        f"root mean square {np.sqrt(((theirs - ours) ** 2).mean()):.5f}; the same token at {agree.sum()} of {agree.size} "
        f"places, at all {decided.sum()} that are decided"
    )
    require(agree[decided].all(), "another token where the gap is clear")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("forms", type=Path)
    parser.add_argument("--logits", type=Path)
    args = parser.parse_args()
    ours = tensors(args.forms / "bf16")
    checks = [
        ("compressed-tensors, MXFP4", compressed, "compressed-mxfp4"),
        ("compressed-tensors, NVFP4", compressed, "compressed-nvfp4"),
        ("ModelOpt, NVFP4", modelopt, "nvfp4"),
        ("gguf", gguf_file, "gguf/model.gguf"),
    ]
    for title, check, where in checks:
        count = check(args.forms / where, ours)
        print(f"{title}: {count} weights, bit for bit")
    if args.logits:
        llama_logits(args.forms / "gguf" / "model.gguf", args.logits)


if __name__ == "__main__":
    main()
