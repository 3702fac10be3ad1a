"""
`python -m shim compile IN.wasm OUT.cwasm [TRIPLE]`: compiles a module ahead of time, the same bytes on every machine.

`-` stands for stdin and stdout.
"""

import os
import sys
import tempfile
from pathlib import Path

from shim.guests.modules import compiled
from shim.messages import NodeError


def main(args: list[str]) -> int:
    """The verb. Returns the exit code."""
    if not 2 <= len(args) <= 3:
        print("usage: python -m shim compile IN.wasm OUT.cwasm [TRIPLE]", file=sys.stderr)
        return 2
    wasm, out = Path(args[0]), Path(args[1])
    try:
        module = sys.stdin.buffer.read() if args[0] == "-" else wasm.read_bytes()
        code = compiled(module, str(wasm), triple=args[2] if len(args) == 3 else "")
        if args[1] == "-":
            sys.stdout.buffer.write(code)
            return 0
        descriptor, partial = tempfile.mkstemp(dir=out.parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(code)
        Path(partial).replace(out)
    except (NodeError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0
