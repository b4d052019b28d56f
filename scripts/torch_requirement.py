"""Prints the pip requirement that brings the two CUDA libraries which libtorch_cpu.so links in torch's
default wheel, in the version that the wheel itself asks for."""

import re
from importlib.metadata import requires

for requirement in requires("torch") or []:
    match = re.match(r"cuda-toolkit\[[^]]*\]\s*(==[0-9.]+)", requirement)
    if match:
        print(f"cuda-toolkit[cudart,cupti]{match[1]}")
        break
else:
    raise SystemExit("the installed torch names no cuda-toolkit among its requirements")
