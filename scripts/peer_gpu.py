#!/usr/bin/env python3
"""What PyTorch and transformers reach on a GPU, to read beside `kernels_training` and `train_slice`.

    pip install torch==2.11.0 transformers==5.17.0
    scripts/peer_gpu.py [kernels] [step]

The shapes of those benches, bf16, random weights; medians, as Markdown. `kernels`: the dense product of
cuBLAS, a copy, grouped products forward and backward. `step`: a training step of four layers of
gpt-oss-20b, 2 sequences of 4096 tokens, AdamW with bf16 moments.
"""

import sys
import time

import torch

TOKENS, TOP_K, EXPERTS, WIDTH = 8192, 4, 32, 2880
DEVICE, DTYPE = "cuda", torch.bfloat16


def seconds(work, rounds=7):
    work()
    times = []
    for _ in range(rounds):
        torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return sorted(times)[rounds // 2]


def random(*shape):
    return torch.empty(shape, device=DEVICE, dtype=DTYPE).uniform_(-0.02, 0.02)


def row(name, flops, work):
    time = seconds(work)
    print(f"| {name} | {time * 1e3:.3f} ms | {flops / time / 1e12:.1f} TFLOP/s |", flush=True)


def kernels():
    side = random(8192, 8192)
    row("cuBLAS, 8192 x 8192 x 8192", 2 * 8192**3, lambda: side @ side)
    large = torch.empty(1 << 30, device=DEVICE, dtype=torch.uint8)
    target = torch.empty_like(large)
    time = seconds(lambda: target.copy_(large))
    print(f"| copy of 1 GiB | {time * 1e3:.3f} ms | {2 * large.numel() / time / 1e9:.0f} GB/s |")
    rows = TOKENS * TOP_K
    offsets = torch.arange(1, EXPERTS + 1, device=DEVICE, dtype=torch.int32) * (rows // EXPERTS)
    for width in [2 * WIDTH, WIDTH]:
        x, grad = random(rows, WIDTH), random(rows, width)
        weight = random(EXPERTS, WIDTH, width)
        flops = 2 * rows * WIDTH * width
        shape = f"{TOKENS} tokens, [{EXPERTS}, {WIDTH}, {width}]"
        grouped = torch._grouped_mm
        row(f"grouped_mm, {shape}", flops, lambda: grouped(x, weight, offs=offsets))
        transposed = weight.transpose(1, 2)
        row(f"its input gradient, {shape}", flops, lambda: grouped(grad, transposed, offs=offsets))
        row(f"its weight gradient, {shape}", flops, lambda: grouped(x.t(), grad, offs=offsets))


def step():
    from transformers import GptOssConfig, GptOssForCausalLM

    config = GptOssConfig(
        num_hidden_layers=4,
        layer_types=["sliding_attention", "full_attention"] * 2,
        use_cache=False,
    )
    config._attn_implementation = "eager"
    torch.set_default_dtype(DTYPE)
    with torch.device(DEVICE):
        model = GptOssForCausalLM(config).train()
    model.set_experts_implementation("grouped_mm")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    tokens = torch.randint(config.vocab_size, (2, 4097), device=DEVICE)

    def train():
        hidden = model.model(tokens[:, :-1]).last_hidden_state
        logits = model.lm_head(hidden).flatten(0, 1)
        torch.nn.functional.cross_entropy(logits, tokens[:, 1:].flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()

    time = seconds(train, 5)
    peak = torch.cuda.max_memory_allocated() / 1e9
    rate = 2 * 4096 / time
    print(f"| transformers, training step | {time * 1e3:.1f} ms | {rate:.0f} tokens/s, {peak:.1f} GB |")


if __name__ == "__main__":
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}\n", flush=True)
    print("| | median | |\n|---|--:|--:|")
    for name in sys.argv[1:] or ["kernels", "step"]:
        {"kernels": kernels, "step": step}[name]()
