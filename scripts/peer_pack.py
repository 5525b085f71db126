#!/usr/bin/env python3
"""Packing speed of ModelOpt and torchao on a CPU, to read beside `cargo bench --bench pack`.

    pip install torch==2.12.1 torchao==0.18.0 nvidia-modelopt==0.47.0
    scripts/peer_pack.py [THREADS]

A float32 matrix [5760, 2880], blocks along the last axis, best of three runs after one to warm up.
"""

import sys
import time

import torch
from modelopt.torch.quantization.qtensor import MXFP4QTensor, NVFP4QTensor
from torchao.prototype.mx_formats.mx_tensor import ScaleCalculationMode, to_mx
from torchao.prototype.mx_formats.nvfp4_tensor import nvfp4_quantize


def best_seconds(run):
    run()
    times = []
    for _ in range(3):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def main():
    torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
    torch.manual_seed(0)
    values = torch.randn(5760, 2880) * 0.02
    rceil = ScaleCalculationMode.RCEIL
    peers = {
        "ModelOpt MXFP4": lambda: MXFP4QTensor.quantize(values, 32),
        "ModelOpt NVFP4": lambda: NVFP4QTensor.quantize(values, 16),
        "torchao MXFP4": lambda: to_mx(values, torch.float4_e2m1fn_x2, 32, rceil),
        "torchao NVFP4": lambda: nvfp4_quantize(values, 16, values.abs().max() / 2688),
    }
    for name, run in peers.items():
        print(f"{name}: {values.numel() / best_seconds(run) / 1e9:.3f} elements per nanosecond")


if __name__ == "__main__":
    main()
