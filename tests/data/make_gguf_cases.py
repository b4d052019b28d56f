#!/usr/bin/env python3
"""Makes the files of tests/data/gguf: small GGUF files by the reference writer, with values of every kind and
tensors of many types, and cases.json with what they hold.

    make_gguf_cases.py OUTPUT_DIR

Needs the Python package gguf (0.19).
"""
import argparse
import json
import pathlib

import gguf
import numpy as np

KINDS = ["u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "string", "array", "u64", "i64", "f64"]
SUPPORTED = {"F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"}


def add_values(writer):
    values = {}

    def note(key, kind, value):
        values[key] = {"kind": kind, "value": value}

    for key, kind, add, value in [
        ("a.u8", "u8", writer.add_uint8, 255), ("a.i8", "i8", writer.add_int8, -128),
        ("a.u16", "u16", writer.add_uint16, 65535), ("a.i16", "i16", writer.add_int16, -32768),
        ("a.u32", "u32", writer.add_uint32, 4294967295), ("a.i32", "i32", writer.add_int32, -2147483648),
        ("a.i64", "i64", writer.add_int64, -(1 << 62)), ("a.f32", "f32", writer.add_float32, 0.15625),
        ("a.f64", "f64", writer.add_float64, 1e-300), ("a.true", "bool", writer.add_bool, True),
        ("a.false", "bool", writer.add_bool, False), ("a.text", "string", writer.add_string, "naïve \u2581 \U0001f916"),
    ]:
        add(key, value)
        note(key, kind, value)
    writer.add_uint64("a.u64", (1 << 64) - 1)
    note("a.u64", "u64", "too large")
    for key, value in [("a.ints", [1, -2, 3]), ("a.floats", [0.5, -0.25]), ("a.flags", [True, False, True]),
                       ("a.texts", ["", "b", "\u2581c"])]:
        writer.add_array(key, value)
        note(key, "array", value)
    return values


def write(path, alignment, types):
    rng = np.random.default_rng(7)
    writer = gguf.GGUFWriter(path, "test")
    if alignment != 32:
        writer.add_custom_alignment(alignment)
    values = add_values(writer)
    tensors = {}
    for i, (kind, shape) in enumerate(types):
        n_elements, n_bytes = gguf.GGML_QUANT_SIZES[kind]
        n_row_bytes = shape[-1] // n_elements * n_bytes
        data = rng.integers(0, 256, size=(*shape[:-1], n_row_bytes), dtype=np.uint8)
        name = f"t{i}.weight"
        writer.add_tensor(name, data, raw_shape=data.shape, raw_dtype=kind)
        facts = {"type": kind.name, "dims": list(reversed(shape))}
        if kind.name in SUPPORTED:
            total = 0
            for byte in data.tobytes():
                total = (total * 31 + byte) % (1 << 64)
            facts.update(bytes=data.nbytes, sum=total)
        tensors[name] = facts
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return {"alignment": alignment, "metadata": values, "tensors": tensors}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("output", type=pathlib.Path)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    kind = gguf.GGMLQuantizationType
    plain = [(kind.F32, (2, 3)), (kind.F16, (5,)), (kind.BF16, (2, 2, 3)), (kind.F32, (1, 2, 1, 2))]
    blocks = [(t, (2, gguf.GGML_QUANT_SIZES[t][0] * 2)) for t in kind if t.name in SUPPORTED and "Q" in t.name]
    others = [(kind.IQ4_NL, (32,)), (kind.I32, (4,)), (kind.MXFP4, (2, 32))]
    cases = {
        "plain.gguf": write(options.output / "plain.gguf", 32, plain),
        "blocks.gguf": write(options.output / "blocks.gguf", 64, blocks + others),
    }
    (options.output / "cases.json").write_text(json.dumps(cases, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
