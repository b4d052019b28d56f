#!/usr/bin/env python3
"""Every test that doc/hub.md names exists.

    table_test.py HUB_MD PROGRAM [NAME...]     NAME: tests that PROGRAM does not list
"""

import re
import subprocess
import sys
from pathlib import Path


def main():
    document, program, *others = sys.argv[1:]
    listed = subprocess.run([program, "--list-test-names-only", "*"], capture_output=True, text=True).stdout
    known = {line.strip() for line in listed.splitlines()} | set(others)
    named = re.findall(r"`(hub[^`]*: [^`]+)`", Path(document).read_text())
    missing = sorted(set(named) - known)
    for name in missing:
        print(f"{document} names a test that is not there: {name}")
    if not named:
        print(f"{document} names no tests")
    return 1 if missing or not named else 0


if __name__ == "__main__":
    sys.exit(main())
