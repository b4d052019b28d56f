#!/usr/bin/env python3
"""Makes tests/data/images: small files of every kind that is decoded, and what Pillow 13 makes of them.

Run it from any folder with a Python that has numpy and Pillow 13; it replaces tests/data/images.

cases.json: {"decode": [{"file", "width", "height", "fnv1a": the 64-bit FNV-1a hash of the RGB bytes}],
"resize": [{"file", "width", "height", "filter", "fnv1a"}]}. Files are read upright and as RGB.
"""

import json
import pathlib
import shutil
import struct
import zlib

import numpy
from PIL import Image, ImageOps

FOLDER = pathlib.Path(__file__).parent / "images"
RANDOM = numpy.random.default_rng(0)


def noise(height, width, channels=3):
    return RANDOM.integers(0, 256, (height, width, channels), dtype=numpy.uint8)


def upright(file):
    return ImageOps.exif_transpose(Image.open(file)).convert("RGB")


def digest(image):
    value = 0xCBF29CE484222325
    for byte in image.tobytes():
        value = (value ^ byte) * 0x100000001B3 % 2 ** 64
    return f"{value:016x}"


def png(name, width, height, depth, kind, row_bytes):
    def chunk(tag, data):
        return struct.pack(">I", len(data)) + tag + data + struct.pack(">I", zlib.crc32(tag + data))
    rows = b"".join(b"\0" + noise(1, row_bytes, 1).tobytes() for _ in range(height))
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    (FOLDER / name).write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def make_files():
    rgb = Image.fromarray(noise(5, 6)).resize((31, 22), Image.BICUBIC)
    rgba = rgb.copy()
    rgba.putalpha(Image.fromarray(noise(22, 31, 1)[:, :, 0]))
    grey = rgb.convert("L")
    rgb.save(FOLDER / "rgb.png")
    rgba.save(FOLDER / "rgba.png")
    grey.save(FOLDER / "grey.png")
    rgba.convert("LA").save(FOLDER / "grey_alpha.png")
    rgb.quantize(37).save(FOLDER / "palette.png")
    rgb.quantize(9).save(FOLDER / "palette_4.png", transparency=3)
    rgb.convert("1").save(FOLDER / "one_bit.png")
    Image.fromarray(RANDOM.integers(0, 700, (9, 12)).astype(numpy.uint16)).save(FOLDER / "grey_16.png")
    png("rgb_16.png", 13, 7, 16, 2, 13 * 6)
    png("rgba_16.png", 13, 7, 16, 6, 13 * 8)
    png("grey_alpha_16.png", 13, 7, 16, 4, 13 * 4)
    png("grey_2.png", 13, 7, 2, 0, 4)
    png("grey_4.png", 13, 7, 4, 0, 7)
    rgb.save(FOLDER / "full.jpg", quality=92, subsampling=0)
    rgb.save(FOLDER / "halved.jpg", quality=80, subsampling=2)
    rgb.save(FOLDER / "progressive.jpg", progressive=True)
    grey.save(FOLDER / "grey.jpg")
    rgb.convert("CMYK").save(FOLDER / "cmyk.jpg", quality=95)
    rgb.save(FOLDER / "lossy.webp", quality=70)
    rgba.save(FOLDER / "lossless_alpha.webp", lossless=True)
    rgba.save(FOLDER / "animation.webp", save_all=True, append_images=[rgb], lossless=True)
    for orientation in range(2, 9):
        exif = Image.Exif()
        exif[0x112] = orientation
        rgb.save(FOLDER / f"turned_{orientation}.jpg", exif=exif)
    rgb.save(FOLDER / "turned.png", exif=exif)
    rgb.save(FOLDER / "turned.webp", exif=exif)
    Image.fromarray(noise(40, 33)).save(FOLDER / "noise.png")
    Image.fromarray(noise(1, 1)).save(FOLDER / "one.png")


def main():
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    make_files()
    cases = {"decode": [], "resize": []}
    for file in sorted(FOLDER.iterdir()):
        image = upright(file)
        cases["decode"].append(
            {"file": file.name, "width": image.width, "height": image.height, "fnv1a": digest(image)})
    for name in ("noise.png", "one.png", "rgb.png"):
        for width, height in ((33, 40), (7, 5), (60, 3), (5, 90), (77, 81), (30, 39), (1, 1), (33, 12)):
            for kind in range(6):
                image = upright(FOLDER / name).resize((width, height), kind)
                cases["resize"].append({"file": name, "width": width, "height": height, "filter": kind,
                                        "fnv1a": digest(image)})
    (FOLDER / "cases.json").write_text(json.dumps(cases, indent=0) + "\n")


if __name__ == "__main__":
    main()
