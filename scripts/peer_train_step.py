#!/usr/bin/env python3
"""Training step of gpt-oss in transformers on a CPU, to read beside `cargo bench --bench train_step`.

    pip install torch==2.12.1 transformers==5.23.0
    scripts/peer_train_step.py [THREADS [STEPS]] [--checkpointing]

The model, batch and optimizer of that bench, float32: tokens per second of the fastest of STEPS
steps (5), after one to warm up, for every expert implementation transformers has. With --checkpointing
layers are computed again in the backward pass, to read beside `cargo bench --bench layer_wise_step`.
"""

import os
import sys
import time

import torch
from torch.nn.functional import cross_entropy
from transformers import GptOssConfig, GptOssForCausalLM
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS

SEQUENCES, LEN, VOCABULARY = 4, 256, 8192
LAYERS, WIDTH, TOP_K = 4, 512, 4
CHECKPOINTING = "--checkpointing" in sys.argv

# `batched_mm` copies both expert matrices for every token and choice, and keeps them for backward.
BYTES_NEEDED = {"batched_mm": 4 * LAYERS * SEQUENCES * LEN * TOP_K * 3 * WIDTH * WIDTH}


def model(experts):
    torch.manual_seed(0)
    config = GptOssConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=8,
        num_key_value_heads=2,
        head_dim=64,
        num_local_experts=8,
        num_experts_per_tok=TOP_K,
        sliding_window=128,
        layer_types=["sliding_attention", "full_attention"] * 2,
        use_cache=False,
    )
    config._attn_implementation = "eager"
    model = GptOssForCausalLM(config).float().train()
    model.set_experts_implementation(experts)
    if CHECKPOINTING:
        model.gradient_checkpointing_enable()
    return model


def fastest_step(experts, n_steps):
    peer = model(experts)
    optimizer = torch.optim.AdamW(peer.parameters(), lr=1e-4, fused=True)
    tokens = torch.randint(VOCABULARY, (SEQUENCES, LEN + 1))

    def step():
        logits = peer(tokens[:, :-1]).logits
        cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()

    step()
    times = []
    for _ in range(n_steps):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return min(times)


def check_memory(experts):
    needed = BYTES_NEEDED.get(experts, 0)
    if needed > os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"):
        raise MemoryError(f"{needed / 1e9:.0f} GB of copies")


def main():
    numbers = [int(argument) for argument in sys.argv[1:] if not argument.startswith("--")]
    n_threads, n_steps = numbers + [2, 5][len(numbers) :]
    torch.set_num_threads(n_threads)
    for experts in ["eager", *sorted(ALL_EXPERTS_FUNCTIONS.valid_keys())]:
        try:
            check_memory(experts)
            seconds = fastest_step(experts, n_steps)
        except Exception as error:  # Some need hardware or packages that are not here.
            print(f"{experts}: not available ({str(error).splitlines()[0]})")
        else:
            print(f"{experts}: {SEQUENCES * LEN / seconds:.0f} tokens per second")


if __name__ == "__main__":
    main()
