#!/usr/bin/env python3
"""Checks an adapter of this project with PEFT and transformers on the CPU.

    cargo run --example export_logits -- BASE FILE.safetensors --adapter ADAPTER
    python scripts/verify_adapter.py BASE ADAPTER FILE.safetensors [--continued DIR]

BASE is a checkpoint directory in BF16 whose adapter ADAPTER is. Three checks:

1. Loading: PEFT finds every tensor of the file in the model, and every factor of the model in the file.
2. Numbers: the logits of transformers with the adapter are those in FILE, and so are the weights that
   `merge_and_unload` gives, before any rounding.
3. With --continued: the adapter as PEFT saves it again is written there, for this project to go on from.

Versions this was written for, and how to get them (CPU only, Python 3.11):

    pip install torch==2.12.1 --index-url https://download.pytorch.org/whl/cpu
    pip install peft==0.21.2 transformers==5.23.0 safetensors==0.8.0

Everything is computed in float32: 4 bytes of memory per parameter, twice.
"""

import argparse
import sys
from pathlib import Path

import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import GptOssForCausalLM


def require(holds, message):
    if not holds:
        sys.exit(f"FAILED: {message}")


def load(base, adapter):
    model = GptOssForCausalLM.from_pretrained(base, dtype=torch.float32, local_files_only=True)
    model.set_experts_implementation("eager")
    model = PeftModel.from_pretrained(model, adapter).eval()
    stored = load_file(adapter / "adapter_model.safetensors")
    found = {
        name.replace(".default", ""): value
        for name, value in model.named_parameters()
        if ".lora_" in name
    }
    require(found.keys() == stored.keys(), f"factors {sorted(found.keys() ^ stored.keys())[:4]}")
    for name, value in stored.items():
        require(torch.equal(found[name].detach(), value.float()), f"{name} was not loaded")
    print(f"loading: {len(stored)} factors, all of them those of the file")
    return model


def check_logits(model, expected, tolerance):
    with torch.no_grad():
        theirs = model(input_ids=expected["input_ids"], use_cache=False).logits
    deviation = (theirs - expected["logits"]).abs().max().item()
    print(f"logits: largest {theirs.abs().max():.3f}, max deviation {deviation:.2e}")
    require(deviation < tolerance, f"the deviation exceeds {tolerance}")


def check_merged(model, expected, tolerance):
    weights = dict(model.merge_and_unload().named_parameters())
    names = [name for name in expected if name.startswith("merged.")]
    require(names, "the file has no merged weights")
    largest = 0.0
    for name in names:
        theirs = weights[name.removeprefix("merged.")].detach()
        require(theirs.shape == expected[name].shape, f"{name}: shape {list(theirs.shape)}")
        largest = max(largest, (theirs - expected[name]).abs().max().item())
    print(f"merge: {len(names)} weights, max deviation {largest:.2e}")
    require(largest < tolerance, f"the deviation exceeds {tolerance}")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("base", type=Path)
    parser.add_argument("adapter", type=Path)
    parser.add_argument("file", type=Path)
    parser.add_argument("--continued", type=Path, help="directory for the adapter as PEFT saves it")
    args = parser.parse_args()
    expected = load_file(args.file)
    model = load(args.base, args.adapter)
    check_logits(model, expected, 2e-4)
    if args.continued:
        model.save_pretrained(args.continued)
        print(f"saved again: {args.continued}")
    check_merged(model, expected, 1e-6)
    print("ok")


if __name__ == "__main__":
    main()
