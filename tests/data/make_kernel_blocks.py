#!/usr/bin/env python3
"""Makes tests/data/kernels: blocks of every GGUF type, and the numbers that they stand for.

The numbers come from the `gguf` package (pip install gguf), which describes the format.

    tests/data/make_kernel_blocks.py
"""

from pathlib import Path

import gguf
import numpy

N = 512
# Offsets of the f16 numbers in a block: they stay finite, everything else is any byte.
HALVES = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82],
    "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
}


def main():
    folder = Path(__file__).parent / "kernels"
    folder.mkdir(exist_ok=True)
    random = numpy.random.default_rng(20)
    for name in ["F32", "F16", "BF16", *HALVES]:
        kind = gguf.GGMLQuantizationType[name]
        n_elements, n_bytes = gguf.GGML_QUANT_SIZES[kind]
        n_blocks = N // n_elements
        if name in HALVES:
            blocks = random.integers(0, 256, (n_blocks, n_bytes), numpy.uint8)
            for at in HALVES[name]:
                scales = random.normal(0, 0.05, n_blocks).astype(numpy.float16)
                scales[0] = numpy.float16(3e-6)  # a subnormal
                blocks[:, at:at + 2] = scales.view(numpy.uint8).reshape(n_blocks, 2)
        else:
            blocks = gguf.quants.quantize(random.normal(0, 1, N).astype(numpy.float32), kind)
        stored = numpy.frombuffer(blocks.tobytes(), numpy.uint8)
        if name in ("F32", "F16"):
            numbers = stored.view({"F32": "<f4", "F16": "<f2"}[name]).astype("<f4")
        else:
            numbers = gguf.quants.dequantize(stored.reshape(1, -1), kind)
        (folder / f"type_{kind.value}.blocks").write_bytes(stored.tobytes())
        (folder / f"type_{kind.value}.f32").write_bytes(numbers.astype("<f4").tobytes())


if __name__ == "__main__":
    main()
