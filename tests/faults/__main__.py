"""
`python -m tests.faults` makes all faults happen, and writes docs/faults.md. Needs root, and a Docker Engine's program.

The page is written where all is as it should be; else the exit code is 1, and what is not is said.
"""

import sys
import tempfile
from pathlib import Path

from benchmarks import machine
from tests.faults.befall import befall
from tests.faults.matrix import MATRIX
from tests.faults.page import described, missed, write
from tests.faults.stage import staged


def main() -> int:
    load = machine.load()
    with tempfile.TemporaryDirectory() as folder, staged(Path(folder)) as stage:
        found = {}
        for row in MATRIX:
            print(f"{row.name} ...", file=sys.stderr, flush=True)
            found[row.name] = befall(stage, row)
            print(f"    {found[row.name]}", file=sys.stderr, flush=True)
    wrong = missed(found)
    print("\n".join(wrong) or "all as it should be")
    if not wrong:
        write(found, described(load))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
